"""Patches: what a device downloads instead of a whole release (docs/patch-format.md)."""

import subprocess
import sys
from pathlib import Path

NOTHING_SAVED = 3
"""Exit status of `python -m tools.delta make`: there is no patch that is small enough."""

_ROOT = Path(__file__).resolve().parents[2]
_LIMIT_S = 120


class PatchError(Exception):
    """A patch that cannot be made or followed; the text says why."""


def make_patch_file(
    base: Path | None, image: Path, out: Path, below_bytes: int, limit_s: float = _LIMIT_S
) -> int | None:
    """Make a patch in a process of its own, and return its size; None when it is not smaller than `below_bytes`.

    bsdiff takes a second or two and 60 MB for a firmware, but hours for megabytes of one repeated byte: after `limit_s`
    PatchError ends that, as it does any other failure. `out` is there when all is well."""
    command = [
        sys.executable,
        "-m",
        "tools.delta",
        "make",
        "--image",
        str(image.absolute()),
        "--below",
        str(below_bytes),
    ]
    command += ["--base", str(base.absolute())] if base else []
    try:
        done = subprocess.run(
            [*command, "--out", str(out.absolute())], cwd=_ROOT, capture_output=True, text=True, timeout=limit_s
        )
    except subprocess.TimeoutExpired:
        raise PatchError(f"no patch for {image} within {limit_s:.0f} s") from None
    if done.returncode == NOTHING_SAVED:
        return None
    if done.returncode:
        raise PatchError((done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1])
    return out.stat().st_size
