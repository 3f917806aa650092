"""Run on the board by `make deploy`: puts the files that have been written as *.part in their places.

MODULES first, then what is STALE goes, boot.py and main.py (LAST) come last: what starts at power-on is whole at any
time.
"""

import os


def move(path):
    try:
        os.rename(path + ".part", path)
    except OSError:  # on FAT nothing may be in the way
        os.remove(path)
        os.rename(path + ".part", path)


for path in MODULES:  # noqa: F821  given by the desk
    move(path)
for path in STALE:  # noqa: F821
    os.remove(path)
for path in LAST:  # noqa: F821
    move(path)
print("null")
