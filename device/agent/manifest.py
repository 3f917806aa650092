"""A release's manifest: which product and release it is, and which settings it replaces."""

import json

from .errors import PermanentError
from .settings import RELEASE_SETTINGS, table

_NUMBER_MAX = 1 << 31


class Manifest:
    """What `manifest.json` says: `product`, `release` (counts up), `floor` (no release below it is ever installed once
    this one has proven itself), `built_at` (seconds since 2000), `littlefs` (the latest that its MicroPython can mount,
    like 0x00020001 for 2.1; 0 when not told), `app` (the product's module), `settings` (in place of the factory's)."""

    def __init__(self, members: dict) -> None:
        self.product = _member(members, "product", str)
        self.release = _member(members, "release", int)
        self.floor = _member(members, "floor", int, 0)
        self.built_at = _member(members, "built_at", int, 0)
        self.littlefs = _member(members, "littlefs", int, 0)
        self.app = _member(members, "app", str, "thermometer")
        self.settings = _member(members, "settings", dict, {})


def parse_manifest(text: str) -> Manifest:
    """Return the manifest in this JSON text. PermanentError when it is none, or would set what cannot be."""
    try:
        members = json.loads(text)
    except (ValueError, RuntimeError, MemoryError):  # the latter two for nesting too deep
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


def _member(members: dict, name: str, kind, default=None):
    value = members.get(name, default)
    if type(value) is not kind:
        raise PermanentError("bad_manifest", name)
    return value
