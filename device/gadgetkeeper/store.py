"""What the device keeps on its flash file system: serial number, settings, and the agent's one record.

`/serial.txt` and `/config.json` are written at the factory and never by the agent. `/state.json` is replaced as a whole
(temporary file, then rename), so that a power cut leaves the old record or the new one, nothing in between.
"""

import json
import os

from micropython import const

from .errors import FinalError, RetryableError

_SERIAL_MAX_CHARS = const(64)
_ETAG_MAX_CHARS = const(128)
_FILE_MAX_BYTES = const(8192)
_KEYS_MAX = const(3)

# The phases of an update under way.
DOWNLOAD = "download"  # the slot holds anything between the old image and the new one
ARMED = "armed"  # the slot holds the new image, checked; the boot loader has been told, or is about to be
ROLLED_BACK = "rolled back"  # the same, after a boot that did not prove itself

DEFAULTS: dict = {
    "server": "http://api.gadgetkeeper.com",
    "wifi": [],
    "thing_name": "ThermometerDevice",
    "temperature_property": "temperature",
    "status_property": "status",
    "report_interval_s": 60,
    "check_interval_s": 3600,
    "onewire_pin": 4,
    "signing_keys": [],
}


def is_id(value: object) -> bool:
    """True for what may stand in a path, a header and a record as an Id or a key: 1 to 64 of A-Z a-z 0-9 . _ -"""
    if not isinstance(value, str) or not 0 < len(value) <= _SERIAL_MAX_CHARS or value[0] == ".":
        return False
    return all("a" <= char <= "z" or "A" <= char <= "Z" or "0" <= char <= "9" or char in "._-" for char in value)


def is_etag(value: object) -> bool:
    """True for a strong entity tag that fits the record: quoted, at most 128 visible ASCII characters."""
    if not isinstance(value, str) or not 2 <= len(value) <= _ETAG_MAX_CHARS or not value[0] == value[-1] == '"':
        return False
    return all(" " < char <= "~" for char in value)


class Store:
    """The device's files below `root`. `state` is the agent's record; it is changed with `keep`."""

    def __init__(self, root: str = "/") -> None:
        self._root = root
        self._saved = ""
        self.state: dict = {}
        self._load()

    def serial_number(self) -> str:
        """The serial number from `/serial.txt`. FinalError when there is none or it cannot be one."""
        try:
            text = self._read("serial.txt").strip()
        except OSError:
            raise FinalError("no_serial", "/serial.txt is missing: write the serial number into it")
        except ValueError:  # not UTF-8
            text = "?"
        if not text:
            raise FinalError("no_serial", "/serial.txt is empty: write the serial number into it")
        if not is_id(text):
            raise FinalError("bad_serial", "/serial.txt does not hold a serial number like THERM00000000000001")
        return text

    def config(self) -> dict:
        """The settings: `/config.json` over DEFAULTS. FinalError when the file is there but cannot be used."""
        settings = DEFAULTS.copy()
        try:
            given = json.loads(self._read("config.json"))
        except OSError:
            return settings
        except ValueError:
            raise FinalError("bad_config", "/config.json is not JSON: correct it, or remove it for the defaults")
        if not isinstance(given, dict):
            raise FinalError(
                "bad_config", "/config.json is not a JSON object: correct it, or remove it for the defaults"
            )
        for name, default in DEFAULTS.items():
            value = given.get(name, default)
            # The value is not shown: it may be a password in the wrong place.
            if type(value) is not type(default) or (name.endswith("_s") and value < 1):
                raise FinalError("bad_config", f"/config.json: {name} needs a value like {json.dumps(default)}")
            settings[name] = value
        keys = settings["signing_keys"]
        if len(keys) > _KEYS_MAX or not all(_is_digest(key) for key in keys):
            raise FinalError(
                "bad_config", "/config.json: signing_keys needs up to 3 key digests of 64 hex digits, in lower case"
            )
        return settings

    def keep(self, **members: object) -> None:
        """Put these members into the record and the record onto flash; None removes one. Nothing is written when
        nothing changed. RetryableError when the flash is full or fails; the old record on it is then still whole."""
        for name in members:
            if members[name] is None:
                self.state.pop(name, None)
            else:
                self.state[name] = members[name]
        text = json.dumps(self.state)
        if text == self._saved:
            return
        try:
            with open(self._root + "state.new", "w") as file:
                file.write(text)
            os.rename(self._root + "state.new", self._root + "state.json")
        except OSError as error:
            raise RetryableError("state_not_saved", f"/state.json cannot be written ({error})")
        self._saved = text

    def keep_credentials(self, thing_id: str, api_key: str) -> None:
        """Put an activation's result into the record. What was done for another thing counts no more."""
        if self.state.get("thingId") != thing_id:
            self.state["renamed"] = self.state["confirmed"] = False
        self.keep(thingId=thing_id, apiKey=api_key)

    def _load(self) -> None:
        # A torn, empty or foreign record means: start from what the flash and the server say.
        try:
            text = self._read("state.json")
            state = json.loads(text)
        except (OSError, ValueError):
            return
        if isinstance(state, dict):
            self.state = {name: value for name, value in state.items() if _KINDS.get(name, _never)(value)}
            self._saved = text

    def _read(self, name: str) -> str:
        # As much as there is, and no more: a read for 8 KiB would allocate 8 KiB in one piece.
        size_bytes = os.stat(self._root + name)[6]
        with open(self._root + name) as file:
            return file.read(min(size_bytes, _FILE_MAX_BYTES))


def _never(value: object) -> bool:
    return False


def _is_flag(value: object) -> bool:
    return value is True or value is False


def _is_digest(value: object) -> bool:
    return isinstance(value, str) and len(value) == 64 and all(char in "0123456789abcdef" for char in value)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and value >= 0


def _is_update(value: object) -> bool:
    if not isinstance(value, dict) or not _is_count(value.get("attempts")):
        return False
    if not is_id(value.get("versionId")) or not is_id(value.get("slot")):
        return False
    if value.get("phase") == DOWNLOAD and "etag" not in value:
        return True
    if not is_id(value.get("image")):
        return False
    if value.get("phase") == DOWNLOAD:
        return is_etag(value["etag"]) and _is_count(value.get("size"))
    return value.get("phase") in (ARMED, ROLLED_BACK)


def _is_verdict(value: object) -> bool:
    return isinstance(value, dict) and is_id(value.get("versionId"))


# The record's members and what each may hold; anything else on flash is not believed.
_KINDS = {
    "thingId": is_id,
    "apiKey": is_id,
    "renamed": _is_flag,
    "versionId": is_id,
    "slot": is_id,
    "image": is_id,
    "confirmed": _is_flag,
    "update": _is_update,
    "quarantined": is_id,
    "verdict": _is_verdict,
}
