"""What the board's owner has told it, in `/owner.json`: the network, and the thing's name. The factory's settings stay
as they are.

With its button the owner asks for a setup, or to be forgotten: `/setup.txt` holds that until the restart after it.
"""

import binascii
import json
import os

from .errors import RetryableError
from .files import read_text, remove, replace_text

SET_UP = "set up"
FORGET = "forget"


class Owner:
    """`network` (in bytes: it need be no text), `password` and `name`, the thing's."""

    def __init__(self, network: bytes, password: str, name: str) -> None:
        self.network = network
        self.password = password
        self.name = name


def read_owner(root: str) -> "Owner | None":
    """Return what `owner.json` says; None without one, or when it is damaged."""
    try:
        members = json.loads(read_text(root + "owner.json"))
        owner = Owner(binascii.unhexlify(members["network"]), members["password"], members["name"])
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, MemoryError):  # the last two: nested too deep
        return None
    return owner if isinstance(owner.password, str) and isinstance(owner.name, str) else None


def write_owner(root: str, owner: Owner) -> None:
    """Write `owner.json`. RetryableError when flash is full or fails; the one on it is then still whole."""
    members = {
        "network": binascii.hexlify(owner.network).decode(),
        "password": owner.password,
        "name": owner.name,
    }
    try:
        replace_text(root + "owner.json", json.dumps(members))
    except OSError as error:
        raise RetryableError("owner_not_saved", error)


def apply_owner(root: str, values: dict) -> None:
    """Have the owner's network come before the factory's in these settings, and the thing bear the owner's name."""
    owner = read_owner(root)
    if owner:
        values["wifi"] = [[text_or_bytes(owner.network), owner.password]] + values["wifi"]
        values["thing_name"] = owner.name or values["thing_name"]


def text_or_bytes(name: bytes) -> "str | bytes":
    """Return a network's name as a text if it is one."""
    try:
        return name.decode()
    except ValueError:
        return name


def ask(root: str, wish: str) -> None:
    """Have the board do this, SET_UP or FORGET, after its next start."""
    replace_text(root + "setup.txt", wish)


def take_wish(device) -> bool:
    """Return True when the owner has asked for a setup with the button; forget the owner first if that was asked for.
    A power cut in between changes nothing: it is then done at the next start."""
    try:
        wish = read_text(device.root + "setup.txt")
    except (OSError, ValueError):
        return False
    if wish == FORGET:
        for name in ("owner.json", "owner.json.new"):
            remove(device.root + name)
        device.record.save(thing_id=None, api_key=None, renamed=False, confirmed=False)
        device.console.say("the owner is forgotten")
    os.remove(device.root + "setup.txt")
    return True
