"""What a server can be told: where its records are, and how much of everything it takes."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path

from .database import FILE

FORMS = ("auto", "string", "object", "raw")
"""How firmware goes out: as the client's Accept asks, or always one of the three bodies."""


@dataclass(frozen=True)
class Settings:
    """All of it, with the defaults."""

    data: Path
    database_url: str | None = None  # None: SQLite in the data folder
    firmware_form: str = "auto"
    accel_prefix: str | None = None  # where a web server in front finds the firmware files (X-Accel-Redirect)
    proxies: str | None = None  # addresses whose X-Forwarded-For is believed

    # History: a value per interval and property, for so long; see the sizes in docs/server.md.
    history_interval_s: int = 900
    history_days: int = 7
    events_days: int = 90
    events_max: int = 1_000_000

    # Activations: at once, then per second. By address: of serial numbers that have no thing yet; of all others.
    serial_burst: int = 20
    serial_per_s: float = 1 / 60
    first_burst: int = 20_000
    first_per_s: float = 20.0
    again_burst: int = 200
    again_per_s: float = 1.0

    silent_after_s: int = 86_400  # a thing not seen for so long is shown as silent

    properties_max: int = 32
    value_max_chars: int = 8192

    @property
    def url(self) -> str:
        """The database's address, for SQLAlchemy."""
        return self.database_url or f"sqlite:///{self.data / FILE}"

    @property
    def firmware_folder(self) -> Path:
        """Where the firmware files lie."""
        return self.data / "firmware"

    @property
    def history_slots(self) -> int:
        """How many values of a property are kept."""
        return max(1, self.history_days * 86_400 // self.history_interval_s)


def _above_zero(kind: type) -> Callable[[str], float]:
    def read(text: str) -> float:
        value = kind(text)
        if not 0 < value < float("inf"):
            raise ValueError
        return value

    return read


LIMITS: dict[str, Callable[[str], float]] = {
    each.name: _above_zero(each.type if isinstance(each.type, type) else float)
    for each in fields(Settings)
    if each.type in (int, float)
}
"""The limits that the command line can change, with what reads each."""
