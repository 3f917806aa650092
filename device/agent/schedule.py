"""How the agent's rounds went; `backoff` says when the next one is due."""


class Schedule:
    """`failures` counts the rounds in a row that have failed; `begun` is False until the first one; `reactivating` is
    True in a round that activates again. For an outage, see `outage`: since when the server is out of reach, when the
    radio was started, and what passed before this start."""

    def __init__(self) -> None:
        self.failures = 0
        self.begun = False
        self.reactivating = False
        self.silent_since_ms: int | None = None
        self.radio_ms = 0
        self.past_ms: int | None = None

    def succeeded(self) -> None:
        """Count a round that ended in step, or whose failure another try would not mend."""
        # Should another board have this serial number, the two must not take turns at full speed.
        self.failures = self.failures + 1 if self.reactivating else 0
        self.reactivating = False

    def failed(self) -> None:
        """Count a round that is worth another try soon."""
        self.failures += 1
        self.reactivating = False
