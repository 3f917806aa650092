"""A folder of the host for each device's files."""

import os

base = "build/logic"
_count = 0


def folder():
    """Make a new empty folder, and return its path with the slash at its end."""
    global _count
    _count += 1
    path = base + str(_count) + "/"
    os.mkdir(path)
    return path
