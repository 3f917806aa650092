"""The agent's parts. `main.py` imports each where it is needed, and lets go of all of them when a step is done."""

import gc
import sys


def forget() -> None:
    """Take the agent's modules out of memory, except those that whoever calls this still holds. What stays the same for
    everybody stays: the errors, because an error must be known by its class, and the console."""
    for name in list(sys.modules):
        if name.startswith("gadgetkeeper.") and not name.endswith((".errors", ".console")):
            del sys.modules[name]
            globals().pop(name[13:], None)  # importing has made it a member of this package
    gc.collect()
