"""The time that an amount takes at a rate, against one that is written."""

from __future__ import annotations

from moewright.audit.nearby.ledger import Entry, meet, over, ranges
from moewright.units import format_quantity


def moved(e: Entry, amount: Entry, rate: Entry, slack: float = 2e-3, place: str = "") -> tuple[bool, float, str]:
    """(Whether time ``e`` is what ``amount`` takes at ``rate``, that time in seconds, and why, in words). ``slack``: of
    what it was worked out from; ``place``: where the rate stands."""
    right = amount.number.value / rate.number.value
    why = f"{amount.number.text.strip()} at {rate.number.text.strip()}{place} take {format_quantity(right, 'seconds')}"
    return meet(ranges(e.number), over(ranges(amount.number), ranges(rate.number)), slack), right, why
