"""What may stand as an Id, a key or an entity tag in a path, a header and the record."""

from micropython import const

_CHARACTERS = const("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz._-")


def is_id(value: object) -> bool:
    """Return True for 1 to 64 of A-Z a-z 0-9 . _ - that do not begin with a dot."""
    return isinstance(value, str) and 0 < len(value) <= 64 and value[0] != "." and not value.strip(_CHARACTERS)


def is_etag(value: object) -> bool:
    """Return True for a strong entity tag of 1 to 128 characters in quotes (RFC 9110, 8.8.3), whatever server made
    it."""
    if not isinstance(value, str) or not 2 < len(value) <= 130 or value[0] != '"' or value[-1] != '"':
        return False
    return value.count('"') == 2 and min(value) > " " and max(value) <= "~"
