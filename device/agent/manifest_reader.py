"""Reading a release's manifest: which product and release it is, and which settings it replaces."""

import json

from micropython import const

from .errors import PermanentError
from .manifest import Manifest
from .settings import RELEASE_SETTINGS, table

_NUMBER_MAX = const(1 << 31)


def parse_manifest(text: str) -> Manifest:
    """Return the manifest in this JSON text. PermanentError when it is none, or would set what cannot be."""
    try:
        members = json.loads(text)
    except (ValueError, RuntimeError, MemoryError):  # the last two: nested too deep
        members = None
    if not isinstance(members, dict):
        raise PermanentError("bad_manifest", "no JSON object")
    manifest = Manifest(members)
    if not 0 <= manifest.floor <= manifest.release < _NUMBER_MAX:
        raise PermanentError("bad_manifest", "floor")
    if not 0 <= manifest.built_at < _NUMBER_MAX:
        raise PermanentError("bad_manifest", "built_at")
    for name in manifest.settings:
        if name not in RELEASE_SETTINGS:
            raise PermanentError("bad_manifest", name)
    for setting in table():
        if not setting.accepts(manifest.settings.get(setting.name, setting.default)):
            raise PermanentError("bad_manifest", setting.name)
    return manifest


def check_manifest(text: str, release: int, product: str) -> Manifest:
    """Check the manifest of a release that is to be installed, whose image says that it is this one of this product.
    Return it; PermanentError when it is none, or another one's."""
    manifest = parse_manifest(text)
    if manifest.release != release or manifest.product != product:
        raise PermanentError("bad_manifest", "not of this image")
    return manifest
