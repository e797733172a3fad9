"""What dispatch and combine kernels reserve on a GPU before the first token, as DeepEP does."""

from __future__ import annotations

from typing import Final

import numpy as np

from moewright.cost.arrays import Array

#: channels that share a scale
_SCALED: Final = 128
_ALIGNMENT: Final = 128


def low_latency_bytes(tokens: Array, hidden: int, experts: Array) -> Array:
    """Bytes of DeepEP's low-latency buffer for ``tokens`` a rank at most and ``experts`` physical experts in all.

    ``LowLatencyLayout`` of csrc/config.hpp: a dispatched message is a header of 16 B and the hidden state in 16 bits
    (or 8 with scales, which is less); a combined one the hidden state in 16 bits and two 16-bit scales for each 128
    channels. Every rank can receive all tokens' messages of its experts from every other one, hence experts × tokens
    of them; the send buffer of combine is as large. Both twice, for odd and even steps, and two sets of counters.
    """
    scales = hidden // _SCALED
    dispatched = 16 + max(2 * hidden, hidden + 4 * scales)
    combined = 2 * hidden + 4 * scales
    send = np.maximum(tokens * dispatched, experts * tokens * combined)
    receive = experts * tokens * max(dispatched, combined)
    counters = np.ceil(4 * experts / _ALIGNMENT) * _ALIGNMENT
    return np.asarray(np.ceil(2 * (send + receive + counters) / _ALIGNMENT) * _ALIGNMENT)
