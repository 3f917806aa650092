"""One update of this board, as its steps hand it on."""

from agent.record import Pending, Version
from agent.runner import run

from .slot import Slot


class Download:
    """What to ask for: the firmware from byte `offset` on, of `size_bytes`, if it is still the one of `etag`."""

    def __init__(self, offset: int = 0, size_bytes: int = 0, etag: str = "") -> None:
        self.offset = offset
        self.size_bytes = size_bytes
        self.etag = etag


class Update:
    """The version to install, the slots it goes from and to, and what the record is to say of it.

    `download` is None when the image should still be in the free slot, because it was armed before."""

    def __init__(self, device, target: Version, running: Slot, slot: Slot, pending: Pending) -> None:
        self.device = device
        self.target = target
        self.running = running
        self.slot = slot
        self.pending = pending
        self.download: Download | None = None
        self.chip_revision: int | None = None  # major * 100 + minor; None where it cannot be told

    def say(self, sentence: str) -> None:
        """Print a line of the scenario's step 4."""
        self.device.console.step(4, "firmware {} {}", self.target.name, sentence)

    def refuse(self, error: Exception) -> None:
        """Record that the firmware has failed a check, and raise the check's error."""
        run("ota.reconcile", "record_refusal", self.device.record, self.pending, error)
        raise error
