"""Text to token ids and back, with the model folder's own tokenizer.json."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from moewright.case.huggingface.json_files import read_json
from moewright.case.model import ModelSpec
from moewright.errors import SpecError
from moewright.run.model.numerics import config_of
from moewright.run.run_error import RunError


class Tokenizer:
    """A tokenizer.json, as the library ``tokenizers`` reads it."""

    def __init__(self, file: Path) -> None:
        try:
            from tokenizers import Tokenizer as Library
        except ModuleNotFoundError:
            raise RunError("a text prompt needs tokenizers: pip install 'moewright[run]'") from None
        try:
            self._library: Any = Library.from_file(str(file))
        except Exception as error:
            raise RunError(f"{file}: is not a tokenizer: {error}") from None

    @staticmethod
    def of(model: ModelSpec) -> Tokenizer | None:
        """The tokenizer beside the config.json that ``model`` was read from, or None."""
        file = Path(model.source).parent / "tokenizer.json"
        return Tokenizer(file) if config_of(model) is not None and file.is_file() else None

    def encode(self, text: str) -> list[int]:
        """Ids of ``text``, special tokens included as the tokenizer adds them."""
        return list(self._library.encode(text).ids)

    def lacking(self, text: str) -> str:
        """The characters of ``text`` that no token stands for, but spaces and what the tokenizer removes."""
        normalizer = self._library.normalizer

        def lacks(c: str) -> bool:
            left = normalizer.normalize_str(c) if normalizer is not None else c
            return bool(left.strip()) and not self._library.encode(c, add_special_tokens=False).ids

        return "".join(filter(lacks, dict.fromkeys(text)))

    def decode(self, ids: list[int]) -> str:
        """The text of ``ids``, special tokens left out."""
        return str(self._library.decode(ids))


def stop_ids(model: ModelSpec) -> list[int]:
    """Ids that end a text: eos_token_id of generation_config.json, else of config.json."""
    config = config_of(model)
    if config is None:
        return []
    file = Path(model.source).parent / "generation_config.json"
    generation = read_json(file) if file.exists() else {}
    told = "eos_token_id" in generation
    found = generation["eos_token_id"] if told else config.get("eos_token_id")
    ids = found if isinstance(found, list) else [] if found is None else [found]
    for i in ids:
        if not isinstance(i, int) or isinstance(i, bool) or i < 0:
            raise SpecError(
                f"got {str(i)[:40]}; expected the number of a token, or a list of them",
                file=str(file) if told else model.source,
                field="eos_token_id",
            )
    return list(ids)
