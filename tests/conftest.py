"""No test waits for a clock, and none is drawn anew: a run of the suite says of the code, not of the day, whether it is
sound. ``HYPOTHESIS_PROFILE=explore`` draws new examples, many of them, for those who look for faults."""

import os

import pytest
from hypothesis import settings

settings.register_profile("fixed", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None, max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes seconds runs without the tracer of lines, which doubles them; the short tests reach the same lines."""
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker("no_cover")


@pytest.fixture(autouse=True)
def commands_of_slow_tests_are_not_traced(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.node.get_closest_marker("slow"):
        monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
