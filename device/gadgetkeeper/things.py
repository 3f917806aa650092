"""GadgetKeeper's Things calls: the thing's name and properties. What they may raise: see `call`."""

import json

from agent.errors import AgentError, PermanentError

from .answer import tell


def rename(device) -> None:
    """Give the thing the name in the settings, once. A server that refuses it keeps nobody from updating."""
    try:
        tell(device, "update thing", json.dumps({"name": device.settings.thing_name, "description": None}))
    except AgentError as error:
        if error.code not in ("refused", "server_error") or error.retry_after_s:
            raise
        device.console.say(f"not renamed [{error.code}]")
        return
    device.record.save(renamed=True)
    device.console.step(2, "renamed to {}", device.settings.thing_name)


def write_property(device, property_id: str, value: object, age_s: int = 0) -> None:
    """Write one property of the thing; it was measured `age_s` ago."""
    headers = {"X-Age": str(age_s)} if age_s else None
    tell(device, "write property", json.dumps(value), headers, property=property_id)


def report_outcome(device) -> None:
    """Tell the server how the last update went. A server without a use for that is no failure."""
    try:
        write_property(device, device.settings.status_property, device.record.outcome)
    except PermanentError as error:
        device.console.say(f"status not reported [{error.code}]")
    except AgentError as error:
        if error.code == "key_dropped":
            raise
        return
    device.record.save(outcome=None)
