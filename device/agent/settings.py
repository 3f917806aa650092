"""The settings, one table: what each is called, its default, its limits."""

import json

from micropython import const

from .errors import PermanentError, RetryableError
from .files import read_text
from .identifiers import is_id
from .runner import run

_INTEGER_MAX = const(0x7FFFFFFF)  # beyond, MicroPython's calendar ends
_KEYS_MAX = const(3)
_ENOENT = const(2)


def _are_digests(keys: list) -> bool:
    """Return True for up to three SHA-256 digests in hex."""
    return len(keys) <= _KEYS_MAX and all(
        isinstance(key, str) and len(key) == 64 and not key.strip("0123456789abcdef") for key in keys
    )


def _is_country(code: str) -> bool:
    """Return True for two capital letters, and for nothing."""
    return not code or (len(code) == 2 and not code.strip("ABCDEFGHIJKLMNOPQRSTUVWXYZ"))


def _are_sensors(properties: dict) -> bool:
    """Return True for properties by the ROM codes of their sensors, in hex."""
    return all(len(rom) == 16 and not rom.strip("0123456789abcdef") and is_id(properties[rom]) for rom in properties)


def _is_secret(text: str) -> bool:
    """Return True for what may stand in a header, and for none."""
    return not text or is_id(text)


class _Setting:
    def __init__(self, name: str, default: object, least: int = 0, check=None) -> None:
        self.name = name
        self.default = default
        self._least = least
        self._check = check

    def accepts(self, value: object) -> bool:
        """Return True for a value of the default's type and within the limits."""
        if type(value) is not type(self.default):
            return False
        if isinstance(value, int) and not self._least <= value <= _INTEGER_MAX:
            return False
        return self._check is None or self._check(value)


def table():
    """Yield each setting: one at a time, because together they would take much memory."""
    yield _Setting("product", "Thermometer")
    yield _Setting("server", "http://api.gadgetkeeper.com")
    yield _Setting("ca", "")
    yield _Setting("wifi", [])
    yield _Setting("country", "", check=_is_country)
    yield _Setting("ntp", "pool.ntp.org")
    yield _Setting("made_at", 0)
    yield _Setting("start_spread_s", 3)
    yield _Setting("thing_name", "ThermometerDevice")
    yield _Setting("temperature_property", "temperature")
    yield _Setting("sensors", {}, check=_are_sensors)
    yield _Setting("chip_temperature_property", "")
    yield _Setting("status_property", "status")
    yield _Setting("report_interval_s", 60, least=1)
    yield _Setting("check_interval_s", 3600, least=1)
    yield _Setting("onewire_pin", 4)
    yield _Setting("button_pin", 0, least=-1)
    yield _Setting("led_pin", -1, least=-1)
    yield _Setting("signing_keys", [], check=_are_digests)
    yield _Setting("setup_password", "")
    yield _Setting("device_secret", "", check=_is_secret)


# What a release may replace: whom to trust and how often to ask; nothing that is this one board's own
RELEASE_SETTINGS = ("server", "ca", "signing_keys", "ntp", "report_interval_s", "check_interval_s")


def load_settings(device) -> None:
    """Set an attribute of the device's settings for each line of `table`: what the running release's manifest says,
    otherwise `/config.json`, otherwise its default; what only the manifest says: `app`, `release`, `floor` and
    `built_at`; and, before all, what its owner has told the board.

    Settings never fail open: PermanentError when a file is there but cannot be used, or no longer names the server or
    the keys that this thing was activated with. All settings then stay as they were; before the first time they are the
    defaults, but no server is known."""
    settings, record = device.settings, device.record
    values = {setting.name: setting.default for setting in table()}
    values["app"], values["release"], values["floor"], values["built_at"] = "thermometer", None, 0, 0
    if not settings.__dict__:
        _apply(settings, values)
        settings.server = ""  # nothing is sent before it is known where to
    given = _given(device)
    try:
        manifest = run("agent.manifest", "parse_manifest", read_text(device.release + "manifest.json"))
        given.update(manifest.settings)
        given["app"], given["release"], given["floor"] = manifest.app, str(manifest.release), manifest.floor
        given["built_at"] = manifest.built_at
    except OSError as error:
        if error.errno != _ENOENT:  # without one: a board that the agent has been deployed to
            raise RetryableError("unreadable", "manifest.json", error)
    except ValueError:  # not UTF-8
        raise PermanentError("bad_manifest", "no text")
    values.update(given)
    if record.api_key and "server" not in given and values["server"] != record.server:
        raise PermanentError("config_gone", "server")
    if record.signed and not values["signing_keys"]:
        raise PermanentError("config_gone", "signing_keys")
    run("agent.owner", "apply_owner", device.root, values)
    _apply(settings, values)


def _apply(settings, values: dict) -> None:
    for name in values:
        setattr(settings, name, values[name])


def _given(device) -> dict:
    """Return what `/config.json` says."""
    try:
        given = json.loads(read_text(device.root + "config.json"))
    except OSError as error:
        if error.errno != _ENOENT:
            raise RetryableError("unreadable", "/config.json", error)
        return {}
    except (ValueError, RuntimeError, MemoryError):  # the latter two for nesting too deep
        given = None
    if not isinstance(given, dict):
        raise PermanentError("no_config")
    values = {}
    for setting in table():
        if setting.name in given:
            if not setting.accepts(given[setting.name]):
                # The value is not shown: it may be a password in the wrong place.
                raise PermanentError("bad_config", setting.name)
            values[setting.name] = given[setting.name]
    return values
