"""The names that tensors have in checkpoints, and sets of modules as quantization configs list them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from moewright.case.huggingface.fields import Fields

_ATTENTION: Final = ("self_attn", "attn", "mixer", "attention", "self_attention")
_LINEAR: Final = ("linear_attn", "self_attn", "mamba", "mixer", "conv", "attention")
_MOE: Final = ("mlp", "block_sparse_moe", "feed_forward", "ffn", "mixer", "moe")
_DENSE: Final = ("mlp", "feed_forward", "ffn", "mixer", "mlps.0")


def _under(blocks: tuple[str, ...], *names: str) -> tuple[str, ...]:
    return tuple(f"{block}.{name}" for block in blocks for name in names)


#: a tensor's name here → the names its modules have in checkpoints, below ``model.layers.<i>.``
MODULES: Final[dict[str, tuple[str, ...]]] = {
    **{
        name: _under(_ATTENTION, name) + _under(("linear_attn",), name)
        for name in ("q_a_proj", "q_b_proj", "kv_b_proj", "kv_proj", "o_a_proj", "o_b_proj", "g_proj", "output_gate")
    },
    **{
        name: _under(_ATTENTION, name, "qkv_proj", "query_key_value", "Wqkv")
        for name in ("q_proj", "k_proj", "v_proj", "qkv_proj")
    },
    "o_proj": _under(_ATTENTION, "o_proj", "out_proj", "dense"),
    "kv_a_proj": _under(_ATTENTION, "kv_a_proj_with_mqa"),
    "indexer_q": ("self_attn.indexer.wq_b", "self_attn.indexer.q_proj", "attn.indexer.wq_b"),
    "indexer_k": ("self_attn.indexer.wk", "self_attn.indexer.k_proj"),
    "indexer_weights": (
        *("self_attn.indexer.weights_proj", "self_attn.indexers_proj"),
        "attn.indexer.weights_proj",
    ),
    **{
        f"{name}_{part}": _under(("self_attn", "attn"), f"{name}.w{part}", f"{name}.{part}_proj")
        for name in ("compressor", "indexer")
        for part in ("kv", "gate")
    },
    "in_proj_qk": ("linear_attn.in_proj_qkv", "linear_attn.in_proj_qkvz"),
    "in_proj_vz": ("linear_attn.in_proj_z", "linear_attn.in_proj_qkvz"),
    "in_proj_ba": ("linear_attn.in_proj_ba", "linear_attn.in_proj_b"),
    **{name: _under(_LINEAR, name) for name in ("in_proj", "out_proj", "x_proj", "dt_proj", "f_proj", "b_proj")},
    **{name: _under(_LINEAR, name) for name in ("f_a_proj", "f_b_proj", "g_a_proj", "g_b_proj")},
    "expert_up": (
        *_under(_MOE, "experts.0.gate_proj", "experts.0.up_proj", "experts.gate_up_proj", "experts.0.w1"),
        "experts.0.gate_proj",
    ),
    "expert_down": (*_under(_MOE, "experts.0.down_proj", "experts.down_proj", "experts.0.w2"), "experts.0.down_proj"),
    "shared_up": _under(
        _MOE, "shared_experts.gate_proj", "shared_expert.gate_proj", "shared_experts.up_proj", "shared_mlp.gate_proj"
    ),
    "shared_down": _under(_MOE, "shared_experts.down_proj", "shared_expert.down_proj", "shared_mlp.down_proj"),
    "shared_gate": _under(_MOE, "shared_expert_gate"),
    "latent_down": _under(_MOE, "fc1_latent_proj"),
    "latent_up": _under(_MOE, "fc2_latent_proj"),
    "dense_up": _under(_DENSE, "gate_proj", "gate_up_proj", "up_proj", "w1"),
    "dense_down": _under(_DENSE, "down_proj", "w2"),
    "router": _under(_MOE, "gate", "router", "router.classifier", "gate.wg"),
}
#: outside of the layers
OUTER: Final[dict[str, tuple[str, ...]]] = {
    "embedding": ("model.embed_tokens", "backbone.embeddings"),
    "head": ("lm_head", "head"),
}


@dataclass(frozen=True, slots=True)
class Names:
    """A set of modules as the lists in configs name them: whole or partial dotted names, ``*`` wildcards,
    and ``re:`` regular expressions (compressed-tensors)."""

    exact: frozenset[str]
    wild: re.Pattern[str] | None
    regular: tuple[re.Pattern[str], ...]

    @staticmethod
    def of(entries: Iterable[str], fields: Fields, name: str) -> Names:
        """The set of ``entries``, which stand under the field ``name``. Raises SpecError."""
        exact, wild, regular = set(), [], []
        for entry in entries:
            entry = entry.replace("language_model.", "")
            if entry.startswith("re:"):
                regular.append(expression(entry[3:], fields, name))
            elif "*" in entry:
                wild.append(".*".join(re.escape(part) for part in re.split(r"\*+", entry)))
            else:
                exact.add(entry.removeprefix("model.").removeprefix("backbone."))
        joined = re.compile(rf"(?:.*\.)?(?:{'|'.join(wild)})(?:\..*)?") if wild else None
        return Names(frozenset(exact), joined, tuple(regular))

    def match(self, module: str) -> bool:
        """Whether ``module``, or a module it lies in, is of the set."""
        return (
            not self.exact.isdisjoint(_runs(module))
            or bool(self.wild and self.wild.fullmatch(module))
            or any(pattern.match(module) for pattern in self.regular)
        )


@lru_cache(maxsize=1 << 14)  # every scheme of a checkpoint asks for the same modules
def _runs(module: str) -> tuple[str, ...]:
    """The parts of a dotted name that stand together, each as one name: of ``a.b``, ``a``, ``a.b`` and ``b``."""
    parts = module.split(".")
    return tuple(".".join(parts[a:b]) for a in range(len(parts)) for b in range(a + 1, len(parts) + 1))


def expression(text: str, fields: Fields, name: str) -> re.Pattern[str]:
    """``text`` as a regular expression. Raises SpecError at the field ``name``."""
    try:
        return re.compile(text)
    except (re.error, OverflowError, RecursionError) as fault:
        raise fields.error(name, f"{text[:40]!r} is no regular expression ({fault})") from None
