"""Compiles what Numba compiles, for the tests: ``make test`` runs it beside mypy, so that no two workers of pytest do the
same, with coverage's tracer on."""

import numpy as np

import moewright

LOADS = np.random.default_rng(0).lognormal(size=(1, 8))

if __name__ == "__main__":
    moewright.place(LOADS, slots=8, gpus=4, nodes=2)
    moewright.place(LOADS, slots=12, gpus=6)
    moewright.place(LOADS, slots=12, gpus=4, nodes=2, affinity=np.ones((8, 8)))
    moewright.place(LOADS, slots=12, gpus=6, shares="optimal")
    moewright.place(np.stack([LOADS, LOADS[:, ::-1]]), slots=12, gpus=6)
