"""Run on the board by `make deploy`: puts the files that have been written as *.part in their places.

MODULES first, then boot.py and main.py (LAST), which start them; what is STALE goes last: as long as it may still be
what starts at power-on, it is whole. Folders that are empty then go, too. Each step is told: on a slow board all take
more than a minute, and the desk gives up on one that is silent.
"""

import os


def move(path):
    print(path)
    try:
        os.rename(path + ".part", path)
    except OSError:  # on FAT nothing may be in the way
        os.remove(path)
        os.rename(path + ".part", path)


for path in MODULES:  # noqa: F821  given by the desk
    move(path)
for path in LAST:  # noqa: F821
    move(path)
for path in STALE:  # noqa: F821
    print(path)
    os.remove(path)
    folder = path.rpartition("/")[0]
    if folder and not os.listdir(folder):
        os.rmdir(folder)
print("null")
