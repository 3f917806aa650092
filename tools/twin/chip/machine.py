"""`machine` on the virtual chip."""

from tools.twin import hardware
from tools.twin.image import CHIP_REVISION

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

    def value(self):
        """0 while the world's "button", {pin: [[from, to], ...]}, holds it down, counted in calls of this."""
        button = hardware.world.get("button", {}).get(str(self.id), ())
        Pin.looks += 1
        return int(not any(first <= Pin.looks < last for first, last in button))

    looks = 0


class PWM:
    """What the last one on each pin was told is in the world's "leds"."""

    def __init__(self, pin, freq=0, duty_u16=0):
        hardware.world.setdefault("leds", {})[pin.id] = (freq, duty_u16)


class WDT:
    """The watchdog: the power supply resets a program that does not feed it in time, whatever the program does."""

    def __init__(self, id=0, timeout=5000):
        self._timeout_ms = timeout
        self.feed()

    def feed(self):
        hardware.tell(f"watchdog {self._timeout_ms}")


class RTC:
    """The clock: what it was set to last. The desk's own clock, which the runtimes' `time` and TLS go by, stays.

    Its memory survives every reset, and no power cut: between two programs the power supply keeps it."""

    value = (2000, 1, 1, 5, 0, 0, 0, 0)

    def __init__(self, id=0):
        pass

    def datetime(self, value=None):
        if value is None:
            return RTC.value
        if len(value) != 8:
            raise ValueError("requested length 8 but object has length " + str(len(value)))
        RTC.value = tuple(value)
        return None

    def memory(self, data=None):
        if data is None:
            return bytes.fromhex(hardware.world.get("rtc_memory", ""))
        hardware.world["rtc_memory"] = bytes(data).hex()
        hardware.tell("rtc_memory " + hardware.world["rtc_memory"])
        return None


class _Registers:
    """The ESP32's registers, as far as they tell the chip's revision: three bits of the major, two of the minor."""

    def __getitem__(self, address):
        major, minor = divmod(CHIP_REVISION, 100)
        bits = (1 << major) - 1
        if address == 0x3FF5A00C:
            return (bits & 1) << 15
        if address == 0x3FF5A014:
            return (bits >> 1 & 1) << 20 | minor << 24
        if address == 0x3FF6607C:
            return (bits >> 2) << 31
        raise ValueError(f"the virtual chip has no register at {address:#x}")


mem32 = _Registers()


def reset():
    hardware.reset("machine.reset")


def soft_reset():
    hardware.reset("soft reset")


def deepsleep(time_ms=0):
    hardware.reset("deep sleep")


def reset_cause():
    return _CAUSES.get(hardware.world.get("reset_cause"), PWRON_RESET)


def unique_id():
    return b"\x24\x0a\xc4\x00\x00\x01"


def freq():
    return 160_000_000
