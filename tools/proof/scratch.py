"""A folder of the host for each Store."""

import os

base = "build/logic"
_count = 0


def folder():
    """A new empty folder's name, with the slash at its end."""
    global _count
    _count += 1
    path = base + str(_count) + "/"
    os.mkdir(path)
    return path
