"""A model of a type that ``families`` does not know, from the modules that transformers builds without memory.

Heads, experts and widths are read off the shapes of the parameters (``module_shapes``). Totals are those of the build,
to the last parameter. transformers and torch are needed here and nowhere else.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final

from moewright.case.huggingface.module_shapes import Block, layer_of, whole
from moewright.case.model import ModelSpec
from moewright.errors import SpecError

_MOST_LAYERS: Final = 512
_LAYER: Final = re.compile(r"(.*?\.)?(layers|blocks|h)\.(\d+)\.(.+)")


def available() -> bool:
    """Whether transformers and torch are installed."""
    return find_spec("transformers") is not None and find_spec("torch") is not None


def filled(config: Mapping[str, Any]) -> dict[str, Any] | None:
    """``config`` with what it leaves out as transformers' configuration class has it; None where that has no class."""
    made = _config(config)
    if made is None:
        return None
    text = made.get_text_config()
    plain: dict[str, Any] = text.to_dict()
    return {**plain, **{k: v for k, v in _flat(config).items() if v is not None}}


def read_modules(config: Mapping[str, Any], name: str, file: str | None) -> ModelSpec | None:
    """The model that transformers builds from ``config``; None where it has no class for it. Raises SpecError for a
    config that its class refuses."""
    made = _config(config, file)
    if made is None:
        return None
    text = made.get_text_config()
    if int(getattr(text, "num_hidden_layers", 0) or 0) > _MOST_LAYERS:
        raise SpecError(f"expected {_MOST_LAYERS} layers at most", file=file, field="num_hidden_layers")
    model = _build(made, text, file)
    if model is None:
        return None
    return Reader(model, text).model(name, file, str(config.get("model_type")))


def _flat(config: Mapping[str, Any]) -> dict[str, Any]:
    text = config.get("text_config")
    return {**config, **text} if isinstance(text, Mapping) else dict(config)


def _config(config: Mapping[str, Any], file: str | None = None) -> Any:
    transformers: Any = import_module("transformers")
    transformers.logging.set_verbosity_error()
    model_type = config.get("model_type")
    if not isinstance(model_type, str) or model_type not in transformers.CONFIG_MAPPING:
        return None
    plain = {k: v for k, v in config.items() if k not in ("model_type", "quantization_config", "auto_map")}
    try:
        return transformers.AutoConfig.for_model(model_type, **plain)
    except Exception as fault:  # a configuration class raises whatever it likes
        reason = " ".join(str(fault).split())[:160] or type(fault).__name__
        raise SpecError(f"is refused by transformers: {reason}", file=file, field="model_type") from None


def _build(made: Any, text: Any, file: str | None) -> Any:
    torch: Any = import_module("torch")
    transformers: Any = import_module("transformers")
    ways = (
        *((transformers.AutoModelForCausalLM, text), (transformers.AutoModelForCausalLM, made)),
        *((transformers.AutoModelForImageTextToText, made), (transformers.AutoModel, text)),
    )
    for way, config in ways:
        try:
            with torch.device("meta"):
                return way.from_config(config)
        except ValueError as fault:
            if "Unrecognized configuration class" not in str(fault):
                raise SpecError(f"is refused by transformers: {str(fault)[:160]}", file=file) from None
        except Exception as fault:
            reason = " ".join(str(fault).split())[:160] or type(fault).__name__
            raise SpecError(f"cannot be built by transformers: {reason}", file=file) from None
    return None


@dataclass(frozen=True, slots=True)
class Reader:
    """A built model, and the configuration of its text model."""

    built: Any
    config: Any

    def model(self, name: str, file: str | None, model_type: str) -> ModelSpec:
        """The model as layers."""
        blocks, outer, towers = self._parts()
        embedding = self.built.get_input_embeddings().weight
        head = self.built.get_output_embeddings()
        rows, hidden = map(int, embedding.shape)
        tied = head is None or head.weight is embedding
        own_head = not tied and tuple(head.weight.shape) == (rows, hidden)
        known = {id(embedding)} | ({id(head.weight)} if own_head else set())
        notes = [f"{model_type} is not among the known types: read off the modules that transformers builds"]
        notes += [f"not counted: {', '.join(sorted(towers)[:6])}"] if towers else []
        notes += ["no head is among the modules: its weights are not counted"] if head is None else []
        return ModelSpec(
            name=name,
            hidden_size=hidden,
            layers=tuple(layer_of(block, hidden) for block in blocks),
            vocab_size=rows,
            tied_embeddings=not own_head,
            final_norm=False,
            source=file or "",
            extra=tuple(whole(n, tuple(p.shape), "dense") for n, p in outer.items() if id(p) not in known),
            notes=tuple(notes),
            max_position=getattr(self.config, "max_position_embeddings", None),
        )

    def _parts(self) -> tuple[list[Block], dict[str, Any], set[str]]:
        """Blocks of the text model, parameters beside them, and the names of other towers."""
        stacks: dict[str, dict[int, dict[str, Any]]] = {}
        rest: dict[str, Any] = {}
        for name, parameter in self.built.named_parameters():
            match = _LAYER.fullmatch(name)
            if match:
                at = (match[1] or "") + match[2]
                stacks.setdefault(at, {}).setdefault(int(match[3]), {})[match[4]] = parameter
            else:
                rest[name] = parameter
        largest = max(stacks, key=lambda at: sum(p.numel() for block in stacks[at].values() for p in block.values()))
        root, modules = largest.rpartition(".")[0], dict(self.built.named_modules())
        towers = {at for at in stacks if at != largest}
        blocks = [
            Block({n: tuple(p.shape) for n, p in block.items()}, modules[f"{largest}.{i}"], self.config, i)
            for i, block in sorted(stacks[largest].items())
        ]
        outer = {}
        for name, parameter in rest.items():
            if not towers or name.startswith(f"{root}.") or name.startswith("lm_head"):
                outer[name] = parameter
            else:
                towers.add(name.rpartition(".")[0])
        return blocks, outer, towers
