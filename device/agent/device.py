"""What the agent's phases work on, handed to each of them."""

from .record import Record
from .schedule import Schedule


class Settings:
    """One attribute for each setting of `settings.TABLE`."""


class Link:
    """A connection that is kept open between two requests to the same server, `raw`; None without one."""

    def __init__(self) -> None:
        self.raw = None
        self.origin = ""

    def close(self) -> None:
        """Close the connection, if one is open."""
        raw, self.raw = self.raw, None
        if raw:
            raw.close()


class Device:
    """One thermometer: its board and console, its files below `root`, settings, record, schedule, link to the server."""

    def __init__(self, board, console, root: str = "/") -> None:
        self.board = board
        self.console = console
        self.root = root
        self.settings = Settings()
        self.record = Record(root)
        self.schedule = Schedule()
        self.link = Link()
        self.server_date = ""  # Date header of the server's last answer
