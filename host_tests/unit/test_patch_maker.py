"""Whatever two releases are: the patch between them makes the second out of the first, and so does each block of it."""

import os
import random
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from host_tests.unit.handmade_patch import pattern
from tools.delta import PatchError, make_patch_file, maker

EXAMPLES = int(os.environ.get("GADGETKEEPER_FUZZ", "150"))
BASE = pattern(30000) + bytes(5000) + pattern(20000, 2)


def _edit(base: bytes, edits: list) -> bytes:
    image = base
    for kind, at, size_bytes, seed in edits:
        at = at % (len(image) + 1)
        if kind == "insert":
            image = image[:at] + pattern(size_bytes, seed) + image[at:]
        elif kind == "remove":
            image = image[:at] + image[at + size_bytes :]
        elif kind == "move":
            piece = image[at : at + size_bytes]
            image = piece + image[:at] + image[at + size_bytes :]
        elif kind == "add":  # as addresses change
            changed = bytearray(image)
            for place in range(at, min(at + size_bytes, len(image)), seed + 1):
                changed[place] = changed[place] + seed & 0xFF
            image = bytes(changed)
        elif kind == "zero":
            image = image[:at] + bytes(min(size_bytes, len(image) - at)) + image[at + size_bytes :]
    return image


_kinds = st.sampled_from(["insert", "remove", "move", "add", "zero"])
_edits = st.lists(
    st.tuples(_kinds, st.integers(0, 60000), st.one_of(st.integers(0, 600), st.integers(0, 9000)), st.integers(1, 400)),
    max_size=6,
)


@given(_edits, st.integers(0, 60000), st.sampled_from([4096, 8192, 65536]))
@settings(
    max_examples=EXAMPLES, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
)
def test_edited_release_is_made_of_the_old_one_and_from_each_block_on(edits, start, block_bytes):
    base = BASE[start:]
    image = _edit(base, edits)
    patch = maker.make_patch(base, image, block_bytes=block_bytes)
    if patch is None:
        return
    assert maker.apply_patch(base, patch) == image
    header = maker.read_header(patch)
    for block in range(header.blocks):
        assert maker.apply_patch(base, patch, block) == image[block * block_bytes :], block


def test_small_change_is_a_small_patch():
    image = BASE[:20000] + b"one line" + BASE[20000:]
    assert len(maker.make_patch(BASE, image)) < 200


def test_release_of_zeros_and_of_nothing_new():
    assert len(maker.make_patch(BASE, BASE)) < 160
    assert len(maker.make_patch(b"", bytes(200000))) < 500
    assert len(maker.make_patch(BASE, bytes(200000))) < 500


def test_every_byte_different_by_the_same_is_a_small_patch():
    image = bytes(byte + 3 & 0xFF for byte in BASE)
    patch = maker.make_patch(image, BASE)
    assert maker.apply_patch(image, patch) == BASE


def test_nothing_is_made_where_it_saves_nothing():
    assert maker.make_patch(b"", pattern(20000)) is None
    assert maker.make_patch(pattern(20000, 3), pattern(20000)) is None
    assert maker.make_patch(BASE, b"") is None
    patch = maker.make_patch(BASE, BASE[:-1])
    assert maker.make_patch(BASE, BASE[:-1], len(patch)) is None
    assert maker.make_patch(BASE, BASE[:-1], len(patch) + 1) == patch


def test_code_that_hardly_compresses_does_not_starve_the_inflater():
    # Bytes with codes of very different lengths, the long ones together: a piece then takes more than its own size.
    draw = random.Random(1)
    rare = [*range(64, 256)]
    often = [0] * 40
    image = b"".join(
        bytes(draw.choice(often + rare) for _ in range(3000)) + bytes(draw.choice(rare) for _ in range(600))
        for _ in range(60)
    )
    patch = maker.make_patch(b"", image)
    assert maker.apply_patch(b"", patch) == image


def test_patch_for_another_base_is_refused():
    patch = maker.make_patch(BASE, BASE[:-1])
    with pytest.raises(PatchError, match="another release"):
        maker.apply_patch(BASE[:-1], patch)


def test_maker_that_errs_gives_nothing_out(monkeypatch):
    monkeypatch.setattr(maker, "_pairs", lambda differences: b"")
    changed = bytearray(BASE)
    changed[1000] ^= 1
    with pytest.raises(PatchError, match="something else"):
        maker.make_patch(BASE, bytes(changed))


def test_patch_is_made_apart_within_its_time(tmp_path):
    base, image, out = tmp_path / "base.bin", tmp_path / "image.bin", tmp_path / "new.patch"
    base.write_bytes(BASE)
    image.write_bytes(BASE[:-1])
    size_bytes = make_patch_file(base, image, out, len(BASE))
    assert size_bytes == out.stat().st_size and maker.apply_patch(BASE, out.read_bytes()) == BASE[:-1]
    assert make_patch_file(base, image, tmp_path / "none", size_bytes) is None
    assert make_patch_file(None, image, out, len(BASE)) == out.stat().st_size
    with pytest.raises(PatchError, match="within"):
        make_patch_file(base, image, tmp_path / "none", len(BASE), 0.001)
    with pytest.raises(PatchError, match=r"gone\.bin"):
        make_patch_file(base, tmp_path / "gone.bin", tmp_path / "none", len(BASE))
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    "arguments, status, says",
    [
        ([], 2, "required"),
        (["make", "--image", "x", "--out", "y", "--below", "-1"], 2, "no number above 0"),
        (["show", "README.md"], 1, "patch_damaged"),
        (["show", "gone"], 1, "gone"),
    ],
)
def test_failure_is_one_line(arguments, status, says):
    done = subprocess.run([sys.executable, "-m", "tools.delta", *arguments], capture_output=True, text=True)
    assert done.returncode == status and len(done.stderr.splitlines()) == 1 and says in done.stderr, done.stderr
