"""A sample of `make fuzz ONLY=patches`, and that it notices what it is there for."""

import os

import pytest
from agent.errors import RetryableError
from hypothesis import HealthCheck, Phase, given, settings
from ota import patch

from tools.proof.fuzz.patches import check_patch, patches

EXAMPLES = int(os.environ.get("GADGETKEEPER_FUZZ", "200"))


def try_patches(examples: int, phases=tuple(Phase)) -> None:
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


@pytest.mark.parametrize("reader", [_Blind, _Loose, _Strict, _Deaf])
def test_reader_that_errs_is_noticed(reader, monkeypatch):
    monkeypatch.setattr("tools.proof.fuzz.patches.PatchBody", reader)
    with pytest.raises((AssertionError, IndexError)):
        try_patches(1000, [Phase.generate])
