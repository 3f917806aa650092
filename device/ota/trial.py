"""A new release's one boot to prove itself."""

from agent.record import Running
from agent.runner import run

from .reconcile import claim_unknown, is_armed, is_installed, settle_update
from .slots import Slots


def prove(device, running: Running) -> None:
    """Check the running slot's image, mark it valid, and record it as installed.

    AgentError when it is not whole, or the mark did not stick; the trial then goes on until its time is up."""
    record = device.record
    slots = Slots(device.board.Partition)
    # What was armed has passed the check of its signature with the keys trusted then; it may itself bring others.
    trusted = [] if is_armed(record.pending, running) else device.settings.signing_keys
    run("ota.image", "check_image", slots.running, None, trusted)
    slots.mark_valid()
    run("ota.traces", "heed", device, slots, running)
    if not is_installed(record, running) and not is_armed(record.pending, running):
        # The record of this update is lost. The server cannot know either what has not been confirmed yet.
        claim_unknown(record, running)
    settle_update(device, slots, running)
    device.board.end_trial()
