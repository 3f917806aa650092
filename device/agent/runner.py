"""Runs one phase of the agent: loads its modules, calls it, and takes them out of memory again.

While a firmware streams in, the heap is needed for that. A phase is a call, so its variables end with it as well; what
it returns should be of a class that stays loaded anyway (see `record`), because a class holds its whole module.
"""

import gc
import sys


def run(module: str, function: str, *arguments):
    """Import `module`, return what its `function` returns for these arguments, and unload what it has imported."""
    loaded = tuple(sys.modules)
    try:
        return getattr(__import__(module, None, None, (function,)), function)(*arguments)
    finally:
        for name in tuple(sys.modules):
            if name not in loaded:
                _unload(name)
        gc.collect()


def _unload(name: str) -> None:
    del sys.modules[name]
    package, _, member = name.rpartition(".")
    if package in sys.modules and hasattr(sys.modules[package], member):
        delattr(sys.modules[package], member)  # importing has made it a member of its package
