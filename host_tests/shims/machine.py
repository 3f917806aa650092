"""`machine` on the virtual chip."""

import chip

PWRON_RESET, HARD_RESET, WDT_RESET, DEEPSLEEP_RESET, SOFT_RESET = 1, 2, 3, 4, 5
_CAUSES = {
    "machine.reset": HARD_RESET,
    "watchdog": WDT_RESET,
    "deep sleep": DEEPSLEEP_RESET,
    "soft reset": SOFT_RESET,
}


class Pin:
    IN, OUT, PULL_UP = 1, 3, 2

    def __init__(self, id, mode=-1, pull=-1, value=None):
        self.id = id


class WDT:
    """The watchdog: the power supply resets a program that does not feed it in time, whatever the program does."""

    def __init__(self, id=0, timeout=5000):
        self._timeout_ms = timeout
        self.feed()

    def feed(self):
        chip.tell(f"watchdog {self._timeout_ms}")


def reset():
    chip.reset("machine.reset")


def soft_reset():
    chip.reset("soft reset")


def deepsleep(time_ms=0):
    chip.reset("deep sleep")


def reset_cause():
    return _CAUSES.get(chip.world.get("reset_cause"), PWRON_RESET)


def unique_id():
    return b"\x24\x0a\xc4\x00\x00\x01"


def freq():
    return 160_000_000
