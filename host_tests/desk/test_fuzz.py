"""A sample of `make fuzz`, and that it notices what it is there for."""

import gc
import io
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from tools.proof import rounds
from tools.proof.fuzz import properties
from tools.proof.fuzz.__main__ import Batch, run
from tools.proof.fuzz.properties import PROPERTIES

CASES = 10  # for each hundredth of a property's share


def try_cases(name: str, cases: int, phases=tuple(Phase)) -> None:
    """Try as many cases of this property, always the same ones."""
    found = PROPERTIES[name]
    gc.collect()
    gc.freeze()  # the agent collects garbage after each phase

    @settings(
        max_examples=cases,
        derandomize=True,
        database=None,
        deadline=None,
        phases=phases,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(found.strategy)
    def check(example):
        found.check(example)

    try:
        check()
    finally:
        gc.unfreeze()


@pytest.mark.parametrize("name", PROPERTIES)
def test_generated_input_raises_only_the_agents_own_errors(name):
    try_cases(name, CASES * PROPERTIES[name].share)


@pytest.mark.filterwarnings("ignore:Generating overly large repr")
@pytest.mark.parametrize(
    "name, function",
    [("heads", "check_header"), ("images", "_check"), ("signatures", "_check"), ("bodies", "open_body")],
)
def test_check_that_lets_everything_pass_is_noticed(monkeypatch, name, function):
    def pass_all(*arguments):
        return SimpleNamespace(readinto=io.BytesIO(b"anything").readinto, finish=lambda: None)

    monkeypatch.setattr(properties, function, pass_all)
    with pytest.raises(AssertionError):
        try_cases(name, 100, [Phase.generate])


@pytest.mark.parametrize("name", ["state.json", "config.json"])
def test_error_of_pythons_own_in_a_round_is_noticed(monkeypatch, name):
    class Clumsy(rounds.QuickBoard):
        def connect(self, networks, country=""):
            raise KeyError(name)

    monkeypatch.setattr(rounds, "QuickBoard", Clumsy)
    with pytest.raises(AssertionError, match="KeyError"):
        try_cases(name, 5, [Phase.generate])


def test_same_seed_same_cases(monkeypatch):
    def draw(seed: int) -> list:
        seen: list = []
        spied = replace(PROPERTIES["bodies"], check=lambda example: seen.append(repr(example)))
        monkeypatch.setitem(PROPERTIES, "bodies", spied)
        assert run(Batch("bodies", seed, 20)) == (len(seen), None)
        return seen

    assert draw(5) == draw(5) != draw(6)


def test_command_line_counts_its_cases():
    done = subprocess.run(
        [sys.executable, "-m", "tools.proof.fuzz", "--cases", "60", "--only", "heads"], capture_output=True, text=True
    )
    assert done.returncode == 0 and done.stdout.startswith("60 cases"), done.stdout + done.stderr


@pytest.mark.parametrize("arguments", [["--only", "x"], ["--cases", "0"], ["--seed", "x"]])
def test_wrong_arguments_are_one_line_and_status_2(arguments):
    done = subprocess.run([sys.executable, "-m", "tools.proof.fuzz", *arguments], capture_output=True, text=True)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1, done.stderr
