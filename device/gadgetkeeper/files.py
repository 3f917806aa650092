"""What lies on the device's flash: serial number, settings, record. All of it is checked before it is believed.

`/serial.txt` and `/config.json` are written at the factory and never by the agent; `/state.json` is the agent's record,
see `store`.
"""

import json
import os

from micropython import const

from . import store
from .errors import FinalError

_FILE_MAX_BYTES = const(8192)
_KEYS_MAX = const(3)

DEFAULTS: dict = {
    "server": "http://api.gadgetkeeper.com",
    "ca": "",
    "wifi": [],
    "ntp": "pool.ntp.org",
    "made_at": 0,
    "start_spread_s": 3,
    "thing_name": "ThermometerDevice",
    "temperature_property": "temperature",
    "status_property": "status",
    "report_interval_s": 60,
    "check_interval_s": 3600,
    "onewire_pin": 4,
    "signing_keys": [],
}


def serial_number() -> str:
    """The serial number from `/serial.txt`. FinalError when there is none or it cannot be one."""
    try:
        text = _read("serial.txt").strip()
    except OSError:
        text = ""
    except ValueError:  # not UTF-8
        text = "?"
    if not text:
        raise FinalError("no_serial")
    if not store.is_id(text):
        raise FinalError("bad_serial")
    return text


def config(settings: dict) -> None:
    """Put what `/config.json` says over the DEFAULTS in `settings`. FinalError when it is there but cannot be used; the
    settings before the one that is wrong are then in force."""
    settings.update(DEFAULTS)
    try:
        given = json.loads(_read("config.json"))
    except OSError:
        return
    except ValueError:
        given = None
    if not isinstance(given, dict):
        raise FinalError("no_config")
    for name, default in DEFAULTS.items():
        value = given.get(name, default)
        fits = type(value) is type(default)
        if fits and name == "signing_keys":
            fits = len(value) <= _KEYS_MAX and all(_is_digest(key) for key in value)
        elif fits and isinstance(value, int):
            # A wait may be none, an interval not; behind the upper end is the end of MicroPython's calendar.
            fits = ("interval" in name) <= value < 1 << 31
        if not fits:
            # The value is not shown: it may be a password in the wrong place.
            raise FinalError("bad_config", name)
        settings[name] = value


def record() -> dict:
    """The agent's record; what cannot be is left out. A torn, empty or foreign one means: start from what the flash and
    the server say."""
    try:
        state = json.loads(_read("state.json"))
    except (OSError, ValueError):
        return {}
    if not isinstance(state, dict):
        return {}
    kinds = {
        "thingId": store.is_id,
        "apiKey": store.is_id,
        "versionId": store.is_id,
        "slot": store.is_id,
        "image": store.is_id,
        "quarantined": store.is_id,
        "renamed": _is_flag,
        "confirmed": _is_flag,
        "update": _is_update,
        "time": _is_count,
        "verdict": lambda value: isinstance(value, dict) and store.is_id(value.get("versionId")),
    }
    return {name: value for name, value in state.items() if name in kinds and kinds[name](value)}


def _read(name: str) -> str:
    # As much as there is, and no more: a read for 8 KiB would allocate 8 KiB in one piece.
    size_bytes = os.stat(store.root + name)[6]
    with open(store.root + name) as file:
        return file.read(min(size_bytes, _FILE_MAX_BYTES))


def _is_flag(value: object) -> bool:
    return value is True or value is False


def _is_digest(value: object) -> bool:
    return isinstance(value, str) and len(value) == 64 and not value.strip("0123456789abcdef")


def _is_count(value: object) -> bool:
    return isinstance(value, int) and 0 <= value < 1 << 31  # beyond, MicroPython's calendar ends


def _is_update(value: object) -> bool:
    if not isinstance(value, dict) or not _is_count(value.get("attempts")):
        return False
    if not store.is_id(value.get("versionId")) or not store.is_id(value.get("slot")):
        return False
    phase = value.get("phase")
    if phase == "download":
        if "etag" not in value:
            return True
        return store.is_id(value.get("image")) and store.is_etag(value["etag"]) and _is_count(value.get("size"))
    return phase in ("armed", "rolled back") and store.is_id(value.get("image"))
