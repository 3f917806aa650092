"""A sample of `make fuzz ONLY=patches`, and that it notices what it is there for."""

import os
import random

import pytest
from agent.errors import RetryableError
from hypothesis import HealthCheck, Phase, given, settings
from ota import patch

from host_tests.unit import vm
from host_tests.unit.patch_reading import verdict, write_cases
from tools.proof.fuzz.patches import BASE, check_patch, patches

EXAMPLES = int(os.environ.get("GADGETKEEPER_FUZZ", "200"))


def try_patches(examples: int, phases=tuple(Phase), check_patch=check_patch) -> None:
    @settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        phases=phases,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(patches)
    def check(example):
        check_patch(example)

    check()


def test_generated_patch_is_followed_or_refused_as_the_format_says():
    try_patches(EXAMPLES)


class _Blind(patch.PatchBody):
    """A reader that takes any place in the base for one inside of it."""

    def _next_command(self):
        self._base_bytes = 1 << 40
        super()._next_command()


class _Loose(patch.PatchBody):
    """A reader that does not look at what follows."""

    def finish(self):
        pass


class _Strict(patch.PatchBody):
    """A reader that refuses what it should not."""

    def _next_pairs(self):
        if self._pairs > 300:
            raise RetryableError("patch_damaged", "pairs")
        super()._next_pairs()


class _Deaf(patch.PatchBody):
    """A reader that forgets the last difference of a copy."""

    def _copy(self, view, count):
        self._pairs_end = self._pairs_end if self._copy_bytes > count else 0
        super()._copy(view, count)


@pytest.mark.filterwarnings("ignore:Generating overly large repr")
@pytest.mark.parametrize("reader", [_Blind, _Loose, _Strict, _Deaf])
def test_reader_that_errs_is_noticed(reader, monkeypatch):
    monkeypatch.setattr("tools.proof.fuzz.patches.PatchBody", reader)
    with pytest.raises((AssertionError, IndexError)):
        try_patches(1000, [Phase.generate])


@pytest.mark.vm
def test_vm_and_cpython_give_the_same_verdict_on_damaged_streams(tmp_path):
    draw = random.Random(1)
    cases = []

    def damage(example):
        patch = bytearray(example[0][0])
        cases.append((BASE, bytes(patch)))
        for _ in range(3 if patch else 0):
            patch[draw.randrange(len(patch) // 4, len(patch))] = draw.randrange(256)
            cases.append((BASE, bytes(patch)))

    try_patches(EXAMPLES // 2, [Phase.generate], damage)
    write_cases(cases)
    done = vm.run(tmp_path, "host_tests.unit.patch_reading", "print_verdicts")
    assert done.returncode == 0, done.stdout + done.stderr
    verdicts = done.stdout.split()
    assert verdicts == [verdict(*case) for case in cases]
    assert len({*verdicts}) > 20
