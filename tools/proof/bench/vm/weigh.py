"""Weighs modules on the VM: imports what comes before them, then them, and says how much of the heap is taken then.

Arguments: the folder with the agent's files, the folders of the chip's modules and of `tools`, the modules (with
commas), and what to import before.
"""

import gc
import sys

_folder, _chip, _root, _modules = sys.argv[1:5]
sys.path[1:1] = [_chip, _root]

import binascii  # noqa: E402,F401
import errno  # noqa: E402,F401
import hashlib  # noqa: E402,F401
import json  # noqa: E402,F401
import random  # noqa: E402,F401
import select  # noqa: E402,F401
import socket  # noqa: E402,F401
import struct  # noqa: E402,F401

import ds18x20  # noqa: E402
import esp32  # noqa: E402
import machine  # noqa: E402
import micropython  # noqa: E402
import network  # noqa: E402
import onewire  # noqa: E402

for _loaded in (ds18x20, esp32, machine, network, onewire):
    sys.modules[_loaded.__name__] = _loaded
sys.path[:] = [_folder, ".frozen"]


def weigh():
    """Say what is taken now."""
    gc.collect()
    gc.collect()
    print("taken:", gc.mem_alloc())
    micropython.qstr_info()


for _name in sys.argv[5:]:
    __import__(_name)
_before = set(sys.modules)
weigh()
for _name in _modules.split(","):
    __import__(_name)
weigh()
print("modules:", " ".join(sorted(set(sys.modules) - _before)))
