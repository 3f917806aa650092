"""What a server can be told: where its records are, and how much of everything it takes."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path

FILE = "gadgetkeeper.sqlite"
"""The database's name in the data folder, unless DATABASE_URL names another database."""

FORMS = ("auto", "string", "object", "raw")
"""How firmware goes out: as the client's Accept asks, or always one of the three bodies."""

_CAN_BE_0 = ("patch_bases",)


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

    # Patches: for so many of the releases that a template's things run (0: none are made)
    patch_bases: int = 8

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
    def patch_folder(self) -> Path:
        """Where the patches lie."""
        return self.data / "patches"

    @property
    def history_slots(self) -> int:
        """How many values of a property are kept."""
        return max(1, self.history_days * 86_400 // self.history_interval_s)


def _limit(name: str, kind: type) -> Callable[[str], float]:
    least = 0 if name in _CAN_BE_0 else 1e-9

    def read(text: str) -> float:
        value = kind(text)
        if not least <= value < float("inf"):
            raise ValueError
        return value

    return read


LIMITS: dict[str, Callable[[str], float]] = {
    each.name: _limit(each.name, each.type if isinstance(each.type, type) else float)
    for each in fields(Settings)
    if each.type in (int, float)
}
"""The limits that the command line can change, with what reads each."""
