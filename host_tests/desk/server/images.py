"""Releases of any size that a device would take, made in memory."""

from tools.twin.image import make_image

SMALLEST_BYTES = len(make_image(1, size_bytes=0))


def app(size_bytes: int, seed: int = 0) -> bytes:
    """A release's image of so many bytes, that is not the same at any two places."""
    assert (size_bytes - SMALLEST_BYTES) % 16 == 0 and size_bytes >= SMALLEST_BYTES
    return make_image(seed, size_bytes=size_bytes - SMALLEST_BYTES, release=1)
