"""A sample of `make fuzz`, and that it notices what it is there for."""

import pytest
from hypothesis import HealthCheck, given, settings

from tools.fuzz.properties import PROPERTIES

CASES = 10  # for each hundredth of a property's share


@pytest.mark.parametrize("name", PROPERTIES)
def test_generated_input_raises_only_the_agents_own_errors(name):
    found = PROPERTIES[name]

    @settings(
        max_examples=CASES * found.share,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(found.strategy)
    def check(example):
        found.check(example)

    check()
