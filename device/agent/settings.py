"""The settings in `/config.json`, one table: what each is called, its default, its limits."""

import json

from micropython import const

from .errors import PermanentError
from .files import read_text

_INTEGER_MAX = const(0x7FFFFFFF)  # beyond, MicroPython's calendar ends
_KEYS_MAX = const(3)


def _are_digests(keys: list) -> bool:
    """Return True for up to three SHA-256 digests in hex."""
    return len(keys) <= _KEYS_MAX and all(
        isinstance(key, str) and len(key) == 64 and not key.strip("0123456789abcdef") for key in keys
    )


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


TABLE = (
    _Setting("server", "http://api.gadgetkeeper.com"),
    _Setting("ca", ""),
    _Setting("wifi", []),
    _Setting("ntp", "pool.ntp.org"),
    _Setting("made_at", 0),
    _Setting("start_spread_s", 3),
    _Setting("thing_name", "ThermometerDevice"),
    _Setting("temperature_property", "temperature"),
    _Setting("status_property", "status"),
    _Setting("report_interval_s", 60, least=1),
    _Setting("check_interval_s", 3600, least=1),
    _Setting("onewire_pin", 4),
    _Setting("signing_keys", [], check=_are_digests),
    _Setting("product", "Thermometer"),
    _Setting("setup_password", ""),
    _Setting("device_secret", ""),
)


def load_settings(settings, root: str) -> None:
    """Set an attribute of `settings` for each line of TABLE: from `config.json`, else its default. PermanentError when
    the file is there but cannot be used; the settings before the wrong one are then in force."""
    for setting in TABLE:
        setattr(settings, setting.name, setting.default)
    try:
        given = json.loads(read_text(root + "config.json"))
    except OSError:
        return
    except ValueError:
        given = None
    if not isinstance(given, dict):
        raise PermanentError("no_config")
    for setting in TABLE:
        value = given.get(setting.name, setting.default)
        if not setting.accepts(value):
            # The value is not shown: it may be a password in the wrong place.
            raise PermanentError("bad_config", setting.name)
        setattr(settings, setting.name, value)
