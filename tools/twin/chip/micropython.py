"""`micropython` for CPython."""


def const(value):
    return value
