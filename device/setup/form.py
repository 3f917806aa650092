"""What the owner has sent, with the page's form or over the cable."""

import binascii

from agent.owner import Owner
from micropython import const

from . import NO_SERVER, TRYING

_NETWORK_MAX_BYTES = const(32)
_PASSWORD_BYTES = range(8, 64)
_KEY_DIGITS = const(64)
_NAME_MAX_CHARS = const(32)


def take_form(portal, body: bytes) -> None:
    """Leave in the portal what the form asks for, or what is wrong with it. ValueError when it is none of ours."""
    fields = {}
    for field in body.split(b"&"):
        name, _, value = field.partition(b"=")
        fields[name] = _unquote(value)
    wish = fields.get(b"do", b"").decode()
    if wish == "join":
        network = fields.get(b"network") or binascii.hexlify(fields.get(b"other", b""))
        password = fields.get(b"password", b"").decode()
        thing_name = fields.get(b"name", b"").decode().strip() or portal.device.settings.thing_name
        choose(portal, binascii.unhexlify(network), password, thing_name)
    elif wish != "look" and (wish != "keep" or portal.outcome != NO_SERVER):
        raise ValueError
    elif not _is_busy(portal):
        portal.wish = wish


def choose(portal, network: bytes, password: str, thing_name: str) -> bool:
    """Have the portal try this choice; return False when it cannot be tried, for which the outcome gives the reason, or
    when another one is being tried. ValueError when the thing cannot have this name."""
    if len(thing_name) > _NAME_MAX_CHARS or not _is_plain(thing_name):
        raise ValueError
    if _is_busy(portal):
        return False
    portal.choice = Owner(network, password, thing_name)
    portal.outcome = _problem(portal.choice)
    portal.wish = "" if portal.outcome else "join"
    return bool(portal.wish)


def _is_busy(portal) -> bool:
    return portal.outcome == TRYING or bool(portal.wish)


def _problem(choice) -> str:
    """Return what is wrong with the choice, if anything, as a name for the outcome."""
    password = choice.password
    if not 1 <= len(choice.network) <= _NETWORK_MAX_BYTES:
        return "bad_network"
    is_key = len(password) == _KEY_DIGITS and not password.strip("0123456789abcdefABCDEF")
    if password and not is_key and not (len(password.encode()) in _PASSWORD_BYTES and _is_plain(password)):
        return "bad_password"
    return ""


def _is_plain(text: str) -> bool:
    return all(ord(char) >= 32 and ord(char) != 127 for char in text)


def _unquote(data: bytes) -> bytes:
    first, *others = data.replace(b"+", b" ").split(b"%")
    return first + b"".join([binascii.unhexlify(each[:2]) + each[2:] for each in others])
