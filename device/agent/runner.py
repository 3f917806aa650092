"""Runs one phase of the agent: loads its modules, calls it, and takes them out of memory again.

While a firmware streams in, the heap is needed for that. A phase is a call, so its variables end with it as well; what
it returns should be of a class that stays loaded anyway (see `record`), because a class holds its whole module.
"""

import gc
import sys


class Next:
    """What a phase returns to have another one take its place: its own modules are gone then."""

    def __init__(self, module: str, function: str, *arguments) -> None:
        self.module = module
        self.function = function
        self.arguments = arguments


_kept: list = []  # names of the modules that stay when the innermost running phase ends


def run(module: str, function: str, *arguments):
    """Import `module`, return what its `function` returns for these arguments, and unload what it has imported."""
    while True:
        _keep_loaded()
        count = len(_kept)
        try:
            result = getattr(__import__(module, None, None, (function,)), function)(*arguments)
        finally:
            del _kept[count:]  # what phases within this one have found
            _unload_others()
            gc.collect()
        if not isinstance(result, Next):
            return result
        module, function, arguments = result.module, result.function, result.arguments


def _keep_loaded() -> None:
    known = set(_kept)  # a list is shorter to keep, a set quicker to ask
    for name in sys.modules:
        if name not in known:
            _kept.append(name)


def _unload_others() -> None:
    kept = set(_kept)
    for name in tuple(sys.modules):
        if name not in kept:
            del sys.modules[name]
            package, _, member = name.rpartition(".")
            if package in sys.modules and hasattr(sys.modules[package], member):
                delattr(sys.modules[package], member)  # importing has made it a member of its package
