"""The board: the only room that knows the hardware. Nothing here touches it at import."""

import select
import time

import machine
import micropython
from agent.errors import AgentError
from agent.runner import run
from esp32 import Partition
from micropython import const

_SLICE_MS = const(1000)
_PERSON_MS = const(3600000)


class Board:
    """The hardware as the agent and the product use it. boot.py has armed the `watchdog`, and knows of a trial. `keys`
    is what is typed at the console, a stream of bytes; None when nobody can."""

    Partition = Partition

    def __init__(self, watchdog=None, on_trial: bool = False, keys=None) -> None:
        self._watchdog = watchdog
        self._on_trial = on_trial
        self._keys = keys
        self._key = b""  # the last one
        self.takes_key = None  # what is asked first whether the key is for it
        self._radio_error: AgentError | None = None  # once it cannot be started
        self._button: machine.Pin | None = None
        self._led_pin = -1
        if keys:
            self._poller = select.poll()
            self._poller.register(keys, select.POLLIN)
            micropython.kbd_intr(-1)  # one disturbed byte on the line must not stop a thermometer for good

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
        """Tell the watchdog, if one is armed, that the program still moves. KeyboardInterrupt when somebody at the
        console wants the REPL: two Ctrl-C in a row, or Enter and Ctrl-C, as tools type it. The watchdog then waits for
        an hour; in a trial, for what is left of its time."""
        guarded = self._watchdog and not self._on_trial
        if guarded:
            self._watchdog.feed()
        while self._keys and self._poller.poll(0):
            key = self._keys.read(1)
            if not key:
                return
            if self.takes_key and self.takes_key(key):
                key = b" "  # what is in a packet is nobody's Ctrl-C
            if key == b"\3" and self._key in (b"\3", b"\r"):
                if guarded:
                    machine.WDT(timeout=_PERSON_MS)
                raise KeyboardInterrupt("stopped for an hour at most; Ctrl-D starts it again")
            self._key = key

    def wait(self, duration_ms: int) -> None:
        """Sleep, feeding the watchdog, see `feed`, and restart for the owner who holds the button."""
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
        machine.RTC().memory(b"\0" + self.recall())

    def remember(self, data: bytes) -> None:
        """Keep up to 2000 bytes where they survive every reset, no power cut, and wear nothing out."""
        memory = machine.RTC().memory()
        machine.RTC().memory((memory[:1] or b"\0") + data)  # in its first byte boot.py counts starts

    def recall(self) -> bytes:
        """Return what `remember` was given last; nothing after a power cut."""
        return machine.RTC().memory()[1:]

    def at_power_on(self) -> bool:
        """Return True when the board has just got its power, as a whole town's boards may after a black-out; not in a
        trial, whose time is short."""
        return not self._on_trial and machine.reset_cause() == machine.PWRON_RESET

    def rtc(self):
        """Return the chip's clock, a machine.RTC."""
        return machine.RTC()

    def connect(self, networks: list, country: str = "") -> None:
        """Join one of the WiFi networks. RetryableError, PermanentError as `wifi.connect`."""
        if self._radio_error:
            raise self._radio_error
        try:
            run("board.wifi", "connect", networks, country, self.wait)
        except AgentError as error:
            if error.code == "wifi_no_radio":  # a second try would end in an assertion of the driver's
                self._radio_error = error
            raise

    def disconnect(self) -> None:
        """Switch the radio off; `connect` starts it anew."""
        if not self._radio_error:
            run("board.wifi", "disconnect")

    def sensors_celsius(self, pin: int) -> dict:
        """Return what the sensors on this pin measure, by their ROM codes in hex: a temperature, or in words why there
        is none. Exception when the bus fails."""
        return run("board.sensors", "sensors_celsius", pin)

    def chip_celsius(self) -> float:
        """Return the chip's own temperature: rough, and above the room's. ValueError for a reading that is none."""
        return run("board.sensors", "chip_celsius")

    def chip_revision(self) -> "int | None":
        """Return the chip's revision as images state it, major * 100 + minor; None on all but the first ESP32."""
        return run("board.revision", "chip_revision")
