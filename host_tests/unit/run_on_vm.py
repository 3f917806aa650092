"""Run one function on the MicroPython VM: `run_on_vm.py ROOT CHIP DEVICE SCRATCH_BASE MODULE FUNCTION`."""

import sys

_root, _chip, _device, _base, _module, _function = sys.argv[1:]
sys.path[0:1] = [_chip, _device, _root]

from tools.proof import scratch  # noqa: E402
from tools.proof.held import keep_modules  # noqa: E402

keep_modules()
scratch.base = _base
__import__(_module)
getattr(sys.modules[_module], _function)()
