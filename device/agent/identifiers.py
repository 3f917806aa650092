"""What may stand as an Id, a key or an entity tag in a path, a header and the record."""

_CHARACTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz._-"


def is_id(value: object) -> bool:
    """Return True for 1 to 64 of A-Z a-z 0-9 . _ - that do not begin with a dot."""
    return isinstance(value, str) and 0 < len(value) <= 64 and value[0] != "." and not value.strip(_CHARACTERS)


def is_etag(value: object) -> bool:
    """Return True for a strong entity tag that holds an Id in quotes, as servers make them."""
    return isinstance(value, str) and value[:1] == value[-1:] == '"' and is_id(value[1:-1])
