"""Which terms measured points can tell: each setting is left out in turn, and predicted by the others.

A prediction of seconds is taken as Σ over terms (its share × its factor) of what is predicted plainly, so that no point
is simulated again. A term keeps its factor where the settings left out come nearer with it than without: by more than
half the standard error of the gain, and with neither TTFT nor TPOT worse by more than a whole one and a trifle.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: standard errors that a gain must exceed, and that a loss of TTFT or TPOT must not
SURE: Final = 0.5
WORSE: Final = 1.0
#: share of the loss below which TTFT or TPOT is not worse
TRIFLE: Final = 0.05
#: settings are left out in at most so many parts
MOST_PARTS: Final = 16
#: settings below which none is left out: one term of the decode time alone, drawn to 1, may change
FEWEST_SETTINGS: Final = 3
_ROUNDS: Final = 8


@dataclass(frozen=True, slots=True)
class Evidence:
    """``shares`` of the terms in TTFT and TPOT [points, 2, terms], each row adding up to 1; ``target``, the logarithms
    of measured ÷ predicted [points, 2]; ``weights``, 1 ÷ noise, 0 where not measured; ``settings`` [points], equal for
    points of one setting; ``prior``, a standard deviation of a factor's logarithm."""

    shares: Array
    target: Array
    weights: Array
    settings: NDArray[np.int64]
    prior: float

    def take(self, mask: NDArray[np.bool_]) -> Evidence:
        """The points of ``mask``."""
        return Evidence(self.shares[mask], self.target[mask], self.weights[mask], self.settings[mask], self.prior)


def robust(residual: Array) -> Array:
    """Weights that make least squares the soft L1 loss 2(√(1 + r²) − 1)."""
    weights: Array = (1 + residual**2) ** -0.25
    return weights


def correction(shares: Array, x: Array) -> Array:
    """log (with the factors ÷ without) of TTFT and TPOT [points, 2]; ``x``: logarithms of the factors."""
    changed: Array = np.log(shares @ np.exp(x))
    return changed


def fitted(e: Evidence, active: tuple[int, ...]) -> Array:
    """Logarithms of the factors that draw the predictions of ``e`` to what was measured; 0 for those not active."""
    x = np.zeros(e.shares.shape[-1])
    if not active:
        return x
    own = list(active)
    for _ in range(_ROUNDS):
        scaled = e.shares * np.exp(x)
        jacobian = (scaled / scaled.sum(-1, keepdims=True))[..., own]
        residual = (e.target - correction(e.shares, x)) * e.weights
        again = robust(residual)
        rows = (jacobian * (e.weights * again)[..., None]).reshape(-1, len(own))
        normal = rows.T @ rows + np.eye(len(own)) / e.prior**2
        step = np.linalg.solve(normal, rows.T @ (residual * again).ravel() - x[own] / e.prior**2)
        x[own] = np.clip(x[own] + np.clip(step, -0.7, 0.7), -1.5, 1.5)
    return x


def left_out(e: Evidence, active: tuple[int, ...]) -> Array:
    """Logarithms of measured ÷ predicted [points, 2], each setting predicted by factors of the others."""
    names, of = np.unique(e.settings, return_inverse=True)
    part = of % min(MOST_PARTS, len(names))
    out = e.target.copy()
    for k in np.unique(part):
        mine = part == k
        out[mine] -= correction(e.shares[mine], fitted(e.take(~mine), active))
    return out


@dataclass(frozen=True, slots=True)
class Choice:
    """``active``: the terms that change, by number. ``errors``: median relative errors of TTFT and TPOT of settings
    left out, (all terms 1, these terms); None where none could be left out. ``reasons``: why a term stays at 1."""

    active: tuple[int, ...]
    errors: tuple[tuple[float, float], tuple[float, float]] | None
    reasons: dict[int, str]


def choose(e: Evidence, alone: tuple[int, ...]) -> Choice:
    """The terms that settings left out are predicted better with. ``alone``: those that change where there are too
    few settings to leave one out."""
    settings = len(np.unique(e.settings))
    count = e.shares.shape[-1]
    if settings < FEWEST_SETTINGS:
        few = f"{settings} setting{'s' * (settings != 1)}: none can be left out to see whether a factor predicts better"
        return Choice(alone, None, {i: few for i in range(count) if i not in alone})
    every = [s for n in range(count + 1) for s in combinations(range(count), n)]
    errors = {s: left_out(e, s) for s in every}
    losses = {s: _losses(errors[s], e) for s in every}
    active = _fewest(losses)
    reasons = {i: _why(i, active, errors, losses, e) for i in range(count) if i not in active}
    plain, now = _medians(errors[()], e), _medians(errors[active], e)
    return Choice(active, ((plain[0], now[0]), (plain[1], now[1])), reasons)


def _losses(error: Array, e: Evidence) -> Array:
    """The soft L1 loss of every setting in TTFT and TPOT [settings, 2], the mean of its points."""
    loss = 2 * (np.sqrt(1 + (error * e.weights) ** 2) - 1)
    _, of = np.unique(e.settings, return_inverse=True)
    sums = np.zeros((of.max() + 1, 2))
    np.add.at(sums, of, loss)
    per_setting: Array = sums / np.bincount(of)[:, None]
    return per_setting


def _better(than: Array, now: Array) -> bool:
    """Whether ``now`` loses less, by more than ``SURE`` standard errors of the gain, and neither figure is worse."""
    gain, root = than - now, np.sqrt(len(than))
    whole = gain.sum(axis=1)
    most = np.maximum(WORSE * root * gain.std(axis=0, ddof=1), TRIFLE * than.sum(axis=0))
    return bool(whole.sum() > SURE * root * whole.std(ddof=1) and not (gain.sum(axis=0) < -most).any())


def _fewest(losses: dict[tuple[int, ...], Array]) -> tuple[int, ...]:
    """Of the sets that are better than none, and than each set with one term less, the one that loses least."""
    good = [s for s in losses if s and _better(losses[()], losses[s])]
    good = [s for s in good if all(_better(losses[tuple(j for j in s if j != i)], losses[s]) for i in s if len(s) > 1)]
    return min(good, key=lambda s: (float(losses[s].sum()), len(s)), default=())


def _why(
    i: int,
    active: tuple[int, ...],
    errors: dict[tuple[int, ...], Array],
    losses: dict[tuple[int, ...], Array],
    e: Evidence,
) -> str:
    with_it = tuple(sorted((*active, i)))
    if float(e.shares[..., i].max()) < 0.02:
        return "under 2% of every figure"
    now, then = _medians(errors[active], e), _medians(errors[with_it], e)
    changed = " and ".join(
        f"{name} {a:.1%} → {b:.1%}"
        for name, a, b in zip(("TTFT", "TPOT"), now, then, strict=True)
        if np.isfinite(a) and abs(a - b) > 5e-4
    )
    less = losses[with_it].sum() < losses[active].sum()
    said = "no surer than chance" if less else "no better"
    return f"settings left out are predicted {said} with it" + (f": {changed}" if changed else "")


def _medians(error: Array, e: Evidence) -> tuple[float, float]:
    """Median relative errors of predictions, of TTFT and TPOT."""
    relative = np.abs(np.exp(-error) - 1)
    out = [
        float(np.median(c[w > 0])) if (w > 0).any() else float("nan")
        for c, w in zip(relative.T, e.weights.T, strict=True)
    ]
    return out[0], out[1]
