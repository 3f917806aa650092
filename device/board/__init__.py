"""The board: the only room that knows the hardware. Nothing here touches it at import."""

import time

import machine
from agent.runner import run
from esp32 import Partition
from micropython import const

_SLICE_MS = const(1000)


class Board:
    """The hardware as the agent and the product use it. boot.py has armed the `watchdog`, and knows of a trial."""

    Partition = Partition

    def __init__(self, watchdog=None, on_trial: bool = False) -> None:
        self._watchdog = watchdog
        self._on_trial = on_trial
        self._button: machine.Pin | None = None
        self._led_pin = -1

    def use_pins(self, button_pin: int, led_pin: int) -> None:
        """From now on look at the button at this pin, and show states on the LED at that one; -1: there is none."""
        self._button = machine.Pin(button_pin, machine.Pin.IN, machine.Pin.PULL_UP) if button_pin >= 0 else None
        self._led_pin = led_pin

    def show(self, state: str) -> None:
        """Show one of the LED's states, see `board.panel`."""
        if self._led_pin >= 0:
            run("board.panel", "show", self._led_pin, state)

    def on_trial(self) -> bool:
        """Return True while the release has to prove itself, within the two minutes of a watchdog that is not fed."""
        return self._on_trial

    def end_trial(self) -> None:
        """From now on let `feed` keep the watchdog quiet."""
        self._on_trial = False
        self.feed()

    def feed(self) -> None:
        """Tell the watchdog, if one is armed, that the program still moves."""
        if self._watchdog and not self._on_trial:
            self._watchdog.feed()

    def wait(self, duration_ms: int) -> None:
        """Sleep, feeding the watchdog, and restart for the owner who holds the button."""
        while duration_ms > 0:
            self.feed()
            # Not in a trial, which a restart would end.
            if self._button and not self._on_trial and not self._button.value():
                self._button = run("board.panel", "watch", self, self._button)
            time.sleep_ms(min(duration_ms, _SLICE_MS))
            duration_ms -= _SLICE_MS

    def restart(self) -> None:
        """Restart the chip, through the boot loader; boot.py counts it until `note_health`. Does not return."""
        machine.reset()

    def reset(self) -> None:
        """Restart the chip for a good reason, which boot.py does not count. Does not return."""
        self.note_health()
        machine.reset()

    def note_health(self) -> None:
        """Tell boot.py that this release works: it has come through a round, and the product's time after it."""
        machine.RTC().memory(b"")

    def at_power_on(self) -> bool:
        """Return True when the board has just got its power, as a whole town's boards may after a black-out; not in a
        trial, whose time is short."""
        return not self._on_trial and machine.reset_cause() == machine.PWRON_RESET

    def rtc(self):
        """Return the chip's clock, a machine.RTC."""
        return machine.RTC()

    def connect(self, networks: list) -> None:
        """Join one of the WiFi networks, see `wifi.connect`."""
        run("board.wifi", "connect", networks, self.wait)

    def sensor_celsius(self, pin: int) -> "float | None":
        """Return what the DS18B20 on this pin measures; None without one. Exception when it fails."""
        return run("board.sensors", "sensor_celsius", pin)

    def chip_celsius(self) -> float:
        """Return the chip's own temperature: rough, and above the room's."""
        return run("board.sensors", "chip_celsius")

    def chip_revision(self) -> "int | None":
        """Return the chip's revision as images state it, major * 100 + minor; None on all but the first ESP32."""
        return run("board.revision", "chip_revision")
