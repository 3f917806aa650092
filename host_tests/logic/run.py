"""Run one test function on the MicroPython VM: `run.py LOGIC SHIMS DEVICE SCRATCH_BASE MODULE FUNCTION`."""

import sys

_logic, _shims, _device, _base, _module, _function = sys.argv[1:]
sys.path[:0] = [_logic, _shims, _device]

import scratch  # noqa: E402

scratch.base = _base
getattr(__import__(_module), _function)()
