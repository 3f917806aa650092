"""Releases for proofs: the real agent, around noise in place of MicroPython."""

from tools import release
from tools.twin.image import make_image

_MICROPYTHON = "1.27.0"


def small_release(number: int, size_bytes: int) -> bytes:
    """Return the release of this number with the real agent, and `size_bytes` of noise, which nobody executes."""
    return make_image(number, size_bytes, files=release.release_files(release.Contents(number), _MICROPYTHON))
