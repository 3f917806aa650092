"""The page, and what its form brings back.

The page is in `page.html`. It goes out line by line, with what it is to show.

A line that begins with `?word` is for the outcome, or for the kind of page, of this name: "form", "wait" or "done". One
that begins with `@` is the list of networks. `$setup`, `$network`, `$thing` and `$serial` are filled in.
"""

import binascii

from agent.owner import Owner, text_or_bytes
from micropython import const

from . import JOINED, NO_SERVER, NOT_REGISTERED, TRYING

_STRONG_DBM = const(-60)
_GOOD_DBM = const(-75)
_NETWORK_MAX_BYTES = const(32)
_PASSWORD_BYTES = range(8, 64)
_KEY_DIGITS = const(64)
_NAME_MAX_CHARS = const(32)


def write_page(portal, write) -> None:
    """Write the page in UTF-8 with `write(data)`."""
    outcome = TRYING if portal.wish in ("join", "keep") else portal.outcome
    kind = {TRYING: "wait", JOINED: "done", NOT_REGISTERED: "done"}.get(outcome, "form")
    values = {
        b"$setup": portal.network,
        b"$network": _shown(portal.choice.network),
        b"$thing": portal.choice.name,
        b"$serial": portal.serial,
    }
    with open(__file__.rpartition("/")[0] + "/page.html", "rb") as lines:
        for line in lines:
            if line[:1] == b"?":
                word, _, line = line[1:].partition(b" ")
                if word.decode() not in (kind, outcome):
                    continue
            if line[:1] == b"@":
                if kind == "form":
                    for found in portal.found:
                        write(_choice(found, found.name == portal.choice.network))
                continue
            if b"$" in line:
                for name, value in values.items():
                    line = line.replace(name, _escape(value))
            write(line)
    portal.is_read = kind == "done"


def _choice(found, is_chosen: bool) -> bytes:
    signal = "strong" if found.signal_dbm > _STRONG_DBM else "good" if found.signal_dbm > _GOOD_DBM else "weak"
    return b"<label class=n><input type=radio name=network value=%s%s><bdi>%s</bdi> %s, %s</label>" % (
        binascii.hexlify(found.name),
        b" checked" if is_chosen else b"",
        _escape(_shown(found.name)),
        signal.encode(),
        b"open" if found.is_open else b"locked",
    )


def _shown(name: bytes) -> str:
    """Return a network's name as a text; bytes that are none as \\xNN."""
    text = text_or_bytes(name)
    return (
        text
        if isinstance(text, str)
        else "".join([chr(byte) if 32 <= byte < 127 else f"\\x{byte:02x}" for byte in name])
    )


def _escape(text: str) -> bytes:
    for char, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;"), ("$", "&#36;")):
        text = text.replace(char, entity)
    return text.encode()


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
