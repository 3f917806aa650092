"""A release's manifest, with names; read by `manifest_reader`."""

from .errors import PermanentError


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


def _member(members: dict, name: str, kind, default=None):
    value = members.get(name, default)
    if type(value) is not kind:
        raise PermanentError("bad_manifest", name)
    return value
