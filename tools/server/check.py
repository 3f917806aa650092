"""Can a device run this file? Judged by the device's own code, before it becomes a version."""

from pathlib import Path

from tools import ondevice

from .errors import ApiError, conflict
from .firmware import FirmwareFiles
from .model import Version

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


def require_suitable(files: FirmwareFiles, target: Version | None, version: Version, force: bool) -> None:
    """409 for a version that things would refuse which run their template's target, unless it is meant like that."""
    problem = None if force else objection(files, target, version)
    if problem:
        raise conflict(f"{problem[0].upper()}{problem[1:]}. force=true sets it all the same")


def objection(files: FirmwareFiles, target: Version | None, version: Version) -> str | None:
    """Why things that run `target` would refuse `version`; None when nothing is known against it."""
    if target is None or target.id == version.id:
        return None
    names = f"version {version.name} is {{}}, but the target, version {target.name}, {{}}"
    if target.is_signed and not version.is_signed:
        return f"{names.format('not signed', 'is')}: devices that trust a key would download it and refuse it"
    old = ondevice.identity(files.path(target.firmware_sha256))
    new = ondevice.identity(files.path(version.firmware_sha256))
    if old is None or new is None:  # from before there were releases
        return None
    if old.product != new.product:
        return names.format(f"for the product {new.product}", f"for {old.product}") + ": its devices would refuse it"
    if new.number < old.floor:
        return names.format(f"release {new.number}", f"lets none below {old.floor} be installed any more")
    return None


def _hint(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(_DESCRIPTOR.stop)
    if head[:1] == b"\xff" or (head[:1] == b"\xe9" and head[_DESCRIPTOR] != _DESCRIPTOR_MAGIC):
        return (
            "it begins with a boot loader, as combined and flash images do. make publish takes the app out, and makes a"
            " release of a MicroPython"
        )
    return ""
