"""What of the model is trained, as a training workload says it → Tuning."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from moewright.case.file.records import Record, Rule, shown, whole
from moewright.case.model import ModelSpec
from moewright.case.spelling import did_you_mean
from moewright.case.train.tuning import PARTS, TARGETS, Lora, Tuning, parts_of, trained_parameters
from moewright.errors import SpecError

#: of an adapter
MOST_RANK = 4096


def _parts(known: tuple[str, ...]) -> Any:
    def check(value: Any) -> tuple[str, ...] | None:
        if value in ("all", "none"):
            return known if value == "all" else ()
        names = value if isinstance(value, list) else [value]
        for name in names:
            if name not in known:
                hint = did_you_mean(name, known) if isinstance(name, str) else ""
                raise ValueError(f"got {shown(name)}; {hint}expected all, none, or a list of {', '.join(known)}")
        return tuple(x for x in known if x in names)

    schema = {"anyOf": [{"enum": ["all", "none", *known]}, {"type": "array", "items": {"enum": list(known)}}]}
    return Rule(check, schema)


Parts = Annotated[tuple[str, ...] | None, _parts(PARTS)]


class LoraRecord(Record):
    """Adapters of low rank beside matrices that are frozen."""

    rank: Annotated[int, whole(1, MOST_RANK)]
    targets: Annotated[tuple[str, ...] | None, _parts(TARGETS)] = Field(
        None, description="parts whose matrices have them; all that the model has where left out"
    )


def tuning_of(
    model: ModelSpec, trainable: tuple[str, ...] | None, frozen_layers: int, lora: LoraRecord | None, file: str
) -> Tuning:
    """Raises SpecError for a part that the model has not, and where nothing is trained or adapted twice."""
    there = set().union(*(parts_of(layer) for layer in model.layers))
    there |= {"embedding", "head"} if model.vocab_size else set()
    if frozen_layers > len(model.layers):
        raise SpecError(
            f"got {frozen_layers}; expected {len(model.layers)} at most, the layers of {model.name}",
            file=file,
            field="workload.frozen_layers",
        )
    parts = trainable if trainable is not None else (() if lora else PARTS)
    adapted = None if lora is None else _adapted(model, lora, there, file)
    if trainable not in (None, PARTS):
        _check_there(model, parts, there, "workload.trainable", file)
    both = [x for x in parts if adapted and x in adapted.targets]
    if both:
        raise SpecError(
            f"got {both[0]}, which workload.trainable trains whole; expected parts that are frozen",
            file=file,
            field="workload.lora.targets",
        )
    tuning = Tuning(parts, frozen_layers, adapted)
    if trained_parameters(model, tuning) == 0:
        raise SpecError("leaves nothing to train; expected a part at least", file=file, field="workload.trainable")
    return tuning


def _adapted(model: ModelSpec, lora: LoraRecord, there: set[str], file: str) -> Lora:
    targets = lora.targets if lora.targets is not None else tuple(x for x in TARGETS if x in there)
    if not targets:
        raise SpecError("got none; expected a part at least", file=file, field="workload.lora.targets")
    _check_there(model, targets, there, "workload.lora.targets", file)
    return Lora(lora.rank, targets)


def _check_there(model: ModelSpec, parts: tuple[str, ...], there: set[str], field: str, file: str) -> None:
    for part in parts:
        if part not in there:
            known = ", ".join(x for x in PARTS if x in there)
            raise SpecError(f"got {part}, which {model.name} has not; it has {known}", file=file, field=field)
