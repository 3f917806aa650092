"""Reporting a property of the thing; what cannot be sent now is sent later, with its age."""

import time

from .errors import PermanentError
from .runner import run


def report(device, property_id: str, value: object, now: bool) -> None:
    """See `Device.report`."""
    measured_ms = time.ticks_ms()
    if not now:
        run("agent.outage", "keep", device, property_id, value, measured_ms)
        return
    try:
        device.board.connect(device.settings.wifi)
        if len(device.board.recall()) > 1:
            run("agent.outage", "send_kept", device)  # first, so that the server's last value is the newest
        run(f"{device.backend}.things", "write_property", device, property_id, value)
    except PermanentError:
        raise
    except Exception as error:
        run("agent.outage", "keep", device, property_id, value, measured_ms)
        run("agent.outage", "climb", device, error)
        raise
