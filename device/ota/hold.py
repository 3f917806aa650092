"""Whether a version may be installed now."""

import time

from agent.record import DOWNLOAD
from agent.runner import run
from micropython import const

_DOWNLOADS_MAX = const(8)  # a day: each writes a slot, and flash takes that some 100,000 times
_DAY_S = const(86400)


def why_held(device, target) -> "str | None":
    """Return in words why this version is not installed now; None when it may be. A quarantine ends here: the target
    has been another one since."""
    record = device.record
    if record.quarantined == target.id:
        return f"firmware {target.name} has failed here; waiting for another target version"
    if record.quarantined:
        record.save(quarantined=None)
    pending = record.pending
    if pending and pending.version_id == target.id and (pending.head or pending.phase != DOWNLOAD):
        return None  # what is there already goes on
    if record.downloads >= _DOWNLOADS_MAX and record.day == today(device):
        return f"firmware {target.name} waits: {record.downloads} downloads were begun today"
    return None


def today(device) -> int:
    """Return today's number, as the server's date has it; otherwise the board's clock, which counts its days."""
    return (run("net.http_date", "date_s", device.server_date) or int(time.time())) // _DAY_S
