"""The plan of an update: where the firmware goes, and what of it is there already."""

from agent.record import DOWNLOAD, Pending, Version
from agent.runner import run

from .slots import Slots
from .update import Download, Update


def plan(device, target: Version) -> Update:
    """Return the update to this version. PermanentError on a board without two slots; RuntimeError during a trial."""
    slots = Slots(device.board.Partition)
    slot = slots.free()
    begun = device.record.pending
    if begun and begun.version_id != target.id:
        begun = None
    attempts = begun.attempts if begun and begun.slot == slot.label else 0
    update = Update(device, target, slots.running, slot, Pending(target.id, slot.label, attempts))
    if not device.settings.signing_keys:
        update.say("needs no signature: /config.json has no signing_keys")
    if not begun or begun.phase == DOWNLOAD:
        update.download = Download()
        if begun and begun.etag and begun.slot == slot.label and begun.image == slot.fingerprint():
            offset = run("ota.writer", "resume_at", slot, begun.size_bytes)
            update.download = Download(offset, begun.size_bytes, begun.etag)
    return update
