"""Can a device run this file? Judged by the device's own code, before it becomes a version."""

from pathlib import Path

from tools import ondevice

from .errors import ApiError

_DESCRIPTOR = slice(32, 36)
_DESCRIPTOR_MAGIC = b"\x32\x54\xcd\xab"


def firmware(path: Path) -> bool:
    """True when the firmware is signed, False when it is not. 400 with the device's own words when no device would take
    it: a flash image, a boot loader, a text, a firmware for another chip, a damaged or cut one, one with a signature
    that does not fit."""
    try:
        return ondevice.check_file(path)
    except ondevice.Refused as error:
        hint = f"; {found}" if (found := _hint(path)) else ""
        raise ApiError(400, f"This is no firmware for a device: {error}{hint}") from None


def _hint(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(_DESCRIPTOR.stop)
    if head[:1] == b"\xff" or (head[:1] == b"\xe9" and head[_DESCRIPTOR] != _DESCRIPTOR_MAGIC):
        return (
            "it begins with a boot loader, as combined and flash images do. make publish takes the app out, and makes a"
            " release of a MicroPython"
        )
    return ""
