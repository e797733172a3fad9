"""Encoders of images and sound beside a language model: about how many parameters they have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

#: sections of a config that describe an encoder
SECTIONS: Final = ("vision_config", "audio_config", "vit_config", "visual", "thinker_config")
_WIDTHS: Final = ("hidden_size", "vt_hidden_size", "embed_dim", "width", "d_model")
_DEPTHS: Final = ("num_hidden_layers", "vt_num_hidden_layers", "depth", "encoder_layers", "layers", "num_layers")
_INNER: Final = ("intermediate_size", "vt_intermediate_size", "encoder_ffn_dim")


def tower_parameters(config: Mapping[str, Any]) -> int:
    """Parameters of the encoders that ``config`` describes: 4 · width² + 2 · width · inner of each layer, without the
    projection to the language model, whose shapes differ by family; 0 where there is none."""
    return sum(_of_one(config[name]) for name in SECTIONS if isinstance(config.get(name), Mapping))


def _of_one(section: Mapping[str, Any]) -> int:
    width, depth = _first(section, _WIDTHS), _first(section, _DEPTHS)
    if not width or not depth:
        return sum(_of_one(section[name]) for name in SECTIONS if isinstance(section.get(name), Mapping))
    ratio = section.get("mlp_ratio")
    inner = _first(section, _INNER) or int(width * (ratio if isinstance(ratio, int | float) and 0 < ratio < 64 else 4))
    return depth * (4 * width * width + 2 * width * inner)


def _first(section: Mapping[str, Any], names: tuple[str, ...]) -> int:
    found = (section.get(name) for name in names)
    return next((x for x in found if type(x) is int and 0 < x < 1 << 20), 0)
