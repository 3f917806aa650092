"""The settings, one table: what each is called, its default, its limits."""

from micropython import const

from .identifiers import is_id

_INTEGER_MAX = const(0x7FFFFFFF)  # beyond, MicroPython's calendar ends
_KEYS_MAX = const(3)


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
