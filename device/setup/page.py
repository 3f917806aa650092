"""The page, HTML from `page.txt`: it goes out line by line, with what it is to show.

A line that begins with `?word` is for the outcome, or for the kind of page, of this name: "form", "wait" or "done". One
that begins with `@` is the list of networks. `$setup`, `$network`, `$thing` and `$serial` are filled in.
"""

import binascii

from agent.owner import text_or_bytes
from micropython import const

from . import JOINED, NOT_REGISTERED, TRYING

_PIECE_BYTES = const(256)
_STRONG_DBM = const(-60)
_GOOD_DBM = const(-75)


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
    for line in _lines(__file__.rpartition("/")[0] + "/page.txt"):
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


def _lines(path: str):
    """Yield the file's lines. It is read in pieces, because the page would take much memory as a whole."""
    piece = bytearray(_PIECE_BYTES)
    rest = b""
    with open(path, "rb") as file:
        count = file.readinto(piece)
        while count:
            rest += piece[:count]
            while b"\n" in rest:
                line, _, rest = rest.partition(b"\n")
                yield line + b"\n"
            count = file.readinto(piece)


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
