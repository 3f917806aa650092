"""One update of this board, as its steps hand it on."""

from agent.record import Pending, Version
from agent.runner import run

from .slot import Slot


class Download:
    """What to ask the server for: a patch for the release whose fingerprint is `base`, or the firmware as it is.

    Without a base only the latter will do. Of either the bytes from `start` up to `end` (0: to its own end), provided
    that the firmware is still the one of `etag`; `size_bytes` is all there is of it, 0 when that is not known."""

    def __init__(self, base: str, start: int = 0, end: int = 0, size_bytes: int = 0, etag: str = "") -> None:
        self.base = base
        self.start = start
        self.end = end
        self.size_bytes = size_bytes
        self.etag = etag


class Update:
    """The version to install, the slots it goes from and to, and what the record is to say of it.

    `download` is None when the image should still be in the free slot, because it was armed before; `offset` is the
    image's byte at which it goes on, `patch_header` what has been received of a patch by itself."""

    def __init__(self, device, target: Version, running: Slot, slot: Slot, pending: Pending) -> None:
        self.device = device
        self.target = target
        self.running = running
        self.slot = slot
        self.pending = pending
        self.download: Download | None = None
        self.offset = 0
        self.patch_header: bytes | None = None
        self.release: int | None = None  # the number that its header names
        self.day = 0  # today's number
        self.chip_revision: int | None = None  # major * 100 + minor; None where it cannot be told

    def say(self, sentence: str) -> None:
        """Print a line of the scenario's step 4."""
        self.device.console.step(4, "firmware {} {}", self.target.name, sentence)

    def refuse(self, error: Exception) -> None:
        """Record that the firmware has failed a check, and raise the check's error."""
        run("ota.reconcile", "record_refusal", self.device.record, self.pending, error)
        raise error
