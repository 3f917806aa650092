"""Reading the settings: the running release's, the factory's, the owner's."""

import json

from micropython import const

from .errors import PermanentError, RetryableError
from .files import read_text
from .runner import run
from .settings import table

_ENOENT = const(2)


def load_settings(device) -> None:
    """Set an attribute of the device's settings for each line of `table`: what the running release's manifest says,
    otherwise `/config.json`, otherwise its default; what only the manifest says: `app`, `release`, `floor` and
    `built_at`; and, before all of them, what its owner has told the board.

    Settings never fail open: RetryableError when a file is there but cannot be read, PermanentError when it cannot be
    used, or no longer names the server or the keys that this thing was activated with. All settings then stay as they
    were; before the first time they are the defaults, but no server is known."""
    settings, record = device.settings, device.record
    values = {setting.name: setting.default for setting in table()}
    values["app"], values["release"], values["floor"], values["built_at"] = "thermometer", None, 0, 0
    if not settings.__dict__:
        _apply(settings, values)
        settings.server = ""  # nothing is sent before it is known where to
    given = _given(device)
    try:
        manifest = run("agent.manifest_reader", "parse_manifest", read_text(device.release + "manifest.json"))
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
    except (ValueError, RuntimeError, MemoryError):  # the last two: nested too deep
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
