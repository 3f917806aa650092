"""A new firmware's one boot to prove itself."""

from agent.record import Running
from agent.runner import run

from .reconcile import claim_installed, is_armed, is_installed, settle_update
from .slots import Slots


def prove(device, running: Running) -> None:
    """End the trial of the running firmware, which has reached the server, with success: it can measure as well.

    RetryableError when it cannot, or when the mark did not stick; the trial then goes on until its time is up."""
    run("thermometer", "read_celsius", device)
    record = device.record
    slots = Slots(device.board.Partition)
    slots.mark_valid()
    is_known = is_installed(record, running) or is_armed(record.pending, running)
    if not is_known:
        # The record of this update is lost. The server cannot know either what has not been confirmed yet.
        claim_installed(record, running, None, record.outcome, record.pending)
    settle_update(record, slots, running)
    device.board.end_trial()
