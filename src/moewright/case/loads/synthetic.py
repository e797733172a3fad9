"""Expert loads by the name of a distribution, for want of a recording."""

from __future__ import annotations

import math

import numpy as np

from moewright.errors import SpecError

#: layers × experts at most
MOST = 10_000_000
#: name → its number where it is left out (None: it takes none)
NAMES = {"uniform": None, "zipf": 1.0, "lognormal": 1.0, "dirichlet": 0.3}


def is_synthetic(text: str) -> bool:
    """Whether ``text`` names a distribution: uniform, zipf:1.0, lognormal:1.0 or dirichlet:0.3."""
    return text.partition(":")[0] in NAMES


def synthetic_loads(text: str, layers: int, experts: int, correlation: float = 0.0, seed: int = 0) -> np.ndarray:
    """Shares of tokens, shape [layers, experts], rows of sum 1, deterministic for a ``seed``.

    zipf:s: the expert of rank r gets r^−s, ranks shuffled in each layer; lognormal:σ: exp(σ·normal); dirichlet:a: a
    draw of the symmetric Dirichlet law of parameter a; uniform: all alike. ``correlation`` of a layer's Gaussian
    scores with the layer before's (an AR(1) chain over layers): 1 has the same hot experts in all layers. Raises
    SpecError.
    """
    name, colon, given = text.partition(":")
    value = NAMES[name]
    if colon:
        try:
            value = float(given)
        except ValueError:
            value = math.nan
        least = 0.0 if name == "zipf" else 1e-3
        if name == "uniform" or not least <= value <= 100:
            after = "" if name == "uniform" else f"; after {name}: a number from {least:g} to 100"
            raise SpecError(
                f"got {text[:40]!r}; expected uniform, zipf:1.0, lognormal:1.0 or dirichlet:0.3{after}", field="LOADS"
            )
    if layers * experts > MOST:
        raise SpecError(
            f"got {layers} layers of {experts} experts; expected at most {MOST} loads in all", field="--layers"
        )
    if not 0 <= correlation <= 1:
        raise SpecError(f"got {correlation:g}; expected a number from 0 to 1", field="--correlation")
    rng = np.random.default_rng(seed)
    scores = np.empty((layers, experts))
    for layer in range(layers):
        fresh = rng.standard_normal(experts)
        last = scores[layer - 1] if layer else fresh
        scores[layer] = correlation * last + math.sqrt(1 - correlation**2) * fresh if layer else fresh
    rank = np.argsort(np.argsort(-scores, axis=1), axis=1)
    if value is None:
        loads: np.ndarray = np.ones((layers, experts))
    elif name == "zipf":
        loads = (rank + 1.0) ** -value
    elif name == "lognormal":
        loads = np.exp(value * scores)
    else:  # the gamma variates of each layer, handed out in the order of the scores
        drawn = -np.sort(-rng.gamma(value, size=(layers, experts)), axis=1)
        loads = np.take_along_axis(drawn, rank, axis=1)
    loads[loads.sum(axis=1) <= 0, 0] = 1  # a Dirichlet law so uneven that all its variates are 0
    return np.asarray(loads / loads.sum(axis=1, keepdims=True))
