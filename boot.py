"""The first Python of ours at power-on: puts a firmware on trial under guard, before anything else of ours can fail.

A new firmware has one boot to prove itself. Should it hang, or the agent not even be importable, nobody feeds this
watchdog, the chip resets, and the boot loader returns to the firmware before it.
"""


def guard_trial():
    """Arm the watchdog if the boot loader has just started a trial, as one of otadata's two records then says."""
    import struct

    from esp32 import Partition

    record = bytearray(32)
    for otadata in Partition.find(Partition.TYPE_DATA, 0):
        for sector in range(2):
            otadata.readblocks(sector, record, 0)
            if struct.unpack_from("<I", record, 24)[0] == 1:  # PENDING_VERIFY
                import machine

                return machine.WDT(timeout=120_000)
    return None


watchdog = None  # main.py hands it to the board
try:
    watchdog = guard_trial()
    import gc
    import sys

    sys.path.insert(0, "/release")
    del guard_trial  # nothing of this stays in memory

    if hasattr(gc, "threshold"):  # not on CPython
        # Compiling the agent would otherwise spread what stays over the whole heap, and leave no 4 KiB in one piece.
        gc.threshold(16 * 1024)
except Exception as error:
    print("boot.py:", error)
