"""The vendors' passwords: kept as scrypt hashes, asked for with every request."""

import base64
import hashlib
import hmac
import os
import secrets
from collections import OrderedDict

_COST = 1 << 14  # 16 MiB and some 50 ms for each guess
_BLOCK = 8
_SALT_BYTES = 16
_DIGEST_BYTES = 32
_REMEMBERED = 64

MIN_CHARS = 12
"""What a password needs where others reach the server."""


def new_password() -> str:
    """A password that nobody guesses."""
    return secrets.token_urlsafe(24)


def hash_password(password: str) -> str:
    """What to keep of a password."""
    salt = os.urandom(_SALT_BYTES)
    # Once hashed, nobody knows any more how long it was.
    kind = "scrypt-short" if is_short(password) else "scrypt"
    return f"{kind}${_text(salt)}${_text(_scrypt(password.encode(), salt))}"


def hash_of_none() -> str:
    """What no password fits, and looking takes as long as for one that does."""
    return f"scrypt${_text(os.urandom(_SALT_BYTES))}${_text(os.urandom(_DIGEST_BYTES))}"


def is_short(password: str) -> bool:
    """True for a password that somebody guesses who can try."""
    return len(password) < MIN_CHARS


def is_hash_of_short(kept: str) -> bool:
    """True for what was kept of a short password."""
    return kept.startswith("scrypt-short$")


def is_password(given: bytes, kept: str) -> bool:
    """True when `kept` was made of this password. Takes some 50 ms, on purpose."""
    _, salt, digest = kept.split("$")
    return hmac.compare_digest(_scrypt(given, base64.b64decode(salt)), base64.b64decode(digest))


class Remembered:
    """Passwords found right before, so that not every request takes 50 ms. An entry says "this password fits this
    hash", which stays true: a new password has another hash, and is not in here."""

    def __init__(self) -> None:
        self._secret = os.urandom(32)  # what lies in memory is of no use elsewhere
        self._entries: OrderedDict[bytes, None] = OrderedDict()

    def knows(self, given: bytes, kept: str) -> bool:
        """True when this password was found to fit this hash."""
        entry = self._entry(given, kept)
        if entry not in self._entries:
            return False
        self._entries.move_to_end(entry)
        return True

    def add(self, given: bytes, kept: str) -> None:
        """Remember that this password fits this hash."""
        self._entries[self._entry(given, kept)] = None
        if len(self._entries) > _REMEMBERED:
            self._entries.popitem(last=False)

    def _entry(self, given: bytes, kept: str) -> bytes:
        return hmac.digest(self._secret, kept.encode() + b"\0" + given, "sha256")


def _scrypt(password: bytes, salt: bytes) -> bytes:
    return hashlib.scrypt(password, salt=salt, n=_COST, r=_BLOCK, p=1, dklen=_DIGEST_BYTES)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
