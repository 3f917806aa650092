"""`ntptime` on the virtual chip: the world's "ntp", in seconds since 2000-01-01 UTC; None: nobody answers."""

import time as _time

from tools.twin import hardware

host = "pool.ntp.org"
timeout = 1
asked = 0


def time():
    """The time as this runtime counts it; by the desk's own clock when the world has no "ntp"."""
    global asked
    asked += 1
    if "ntp" not in hardware.world:
        return int(_time.time())
    if hardware.world["ntp"] is None:
        raise OSError(110)
    return hardware.world["ntp"] + (946684800 if _time.gmtime(0)[0] == 1970 else 0)
