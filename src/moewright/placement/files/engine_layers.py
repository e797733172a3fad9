"""Which layers of a model have experts: what engines index a placement file by."""

from __future__ import annotations

from dataclasses import dataclass

from moewright.errors import SpecError


@dataclass(frozen=True, slots=True)
class EngineLayers:
    """``layers`` of the model, of which those at ``positions`` have ``experts`` experts."""

    layers: int
    positions: tuple[int, ...]
    experts: int

    def all_rows(self, rows: list[list[int]]) -> list[list[int]]:
        """A row for every layer of the model: experts in order where a layer has none. Raises SpecError."""
        plain = [slot % self.experts for slot in range(len(rows[0]))]
        if len(rows) == self.layers:
            return [row if i in self.positions else plain for i, row in enumerate(rows)]
        self.check(len(rows))
        found = [plain] * self.layers
        for position, row in zip(self.positions, rows, strict=True):
            found[position] = row
        return found

    def check(self, rows: int) -> None:
        """Raises SpecError unless there is a row for each layer with experts."""
        if rows != len(self.positions):
            raise SpecError(
                f"has {len(self.positions)} layers with experts, of {self.layers}; the loads have {rows}",
                field="--model",
            )


def engine_layers(name: str) -> EngineLayers:
    """Of catalogue model ``name``. Raises SpecError."""
    from moewright.case.catalogue.model_catalogue import load_model

    model = load_model(name)
    experts = model.moe.experts if model.moe else 0
    return EngineLayers(len(model.layers), tuple(model.moe_layers()), experts)
