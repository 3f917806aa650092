"""A board and a console to give to the agent, and a device on them, on any runtime."""

from agent.device import Device
from agent.settings import table

from tools.proof import scratch
from tools.twin import hardware


class FakeConsole:
    """Keeps what it is told: `lines`."""

    def __init__(self):
        self.lines = []

    def say(self, text):
        self.lines.append(text)

    def step(self, number, text, *values):
        self.say(f"[{number}/5] " + text.format(*values))

    def progress(self, title, done_bytes, size_bytes):
        pass


class FakeBoard:
    """A board with `Partition` as its flash; a reset ends the program. `waited_ms` is how long it has slept,
    `resets` and `disconnects` count, `fed` is how often the watchdog was to be fed, `connected` which networks were to
    be joined, `memory` what survives a reset, `shown` what the LED was to show."""

    def __init__(self, Partition=None, on_trial=False):
        self.Partition = Partition
        self.revision = 301
        self.sensors = {"28ff010203040506": 21.5}
        self.memory = b""
        self.chip = 40.0
        self.powered_on = False
        self.waited_ms = self.resets = self.fed = self.ended_trials = self.disconnects = 0
        self.connected = []
        self.shown = []
        self._on_trial = on_trial

    def on_trial(self):
        return self._on_trial

    def end_trial(self):
        self._on_trial = False
        self.ended_trials += 1

    def use_pins(self, button_pin, led_pin):
        pass

    def show(self, state):
        self.shown.append(state)

    def feed(self):
        self.fed += 1

    def wait(self, duration_ms):
        self.waited_ms += duration_ms

    def reset(self):
        self.resets += 1
        raise hardware.PowerLoss("reset")

    restart = reset

    def note_health(self):
        pass

    def at_power_on(self):
        return self.powered_on

    def connect(self, networks, country=""):
        self.connected.append(networks)

    def disconnect(self):
        self.disconnects += 1

    def remember(self, data):
        assert len(data) <= 2000
        self.memory = data

    def recall(self):
        return self.memory

    def sensors_celsius(self, pin):
        if isinstance(self.sensors, Exception):
            raise self.sensors
        return dict(self.sensors)

    def chip_celsius(self):
        return self.chip

    def chip_revision(self):
        return self.revision


def fake_device(board=None, root=None, **settings):
    """A device on a fake board with files of its own, with the settings' defaults but for these."""
    root = root or scratch.folder()
    device = Device(board or FakeBoard(), FakeConsole(), root, root + "release/")
    for setting in table():
        setattr(device.settings, setting.name, settings.get(setting.name, setting.default))
    device.settings.app, device.settings.release, device.settings.floor = "thermometer", None, 0
    device.settings.built_at = 0
    return device
