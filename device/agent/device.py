"""What the agent's phases work on, handed to each of them."""

import time

from .record import Record
from .runner import run
from .schedule import Schedule


class Settings:
    """One attribute for each setting of `settings.table`; the running release's `app`, `release`,
    `floor` and `built_at`."""

    server: str
    wifi: list
    country: str
    check_interval_s: int
    app: str


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
    """One device: its board and console, its files below `root` and its release's below `release`, settings, record,
    schedule, link to the server. To the product it is the agent, see docs/another-product.md."""

    things = "gadgetkeeper.things"  # the calls that the agent itself makes, by name: their room lies above this one

    def __init__(self, board, console, root: str = "/", release: str = "/release/") -> None:
        self.board = board
        self.console = console
        self.root = root
        self.release = release
        self.settings = Settings()
        self.record = Record(root)
        self.schedule = Schedule()
        self.link = Link()
        self.server_date = ""  # Date header of the server's last answer

    def report(self, property_id: str, value: object, now: bool = True) -> None:
        """Write one property of the thing at the server. AgentError when that fails; unless the server refuses it for
        good, the value is kept and sent later with its age. With `now` False it is kept at once."""
        measured_ms = time.ticks_ms()
        try:
            if now:
                self.board.connect(self.settings.wifi, self.settings.country)
                if len(self.board.recall()) > 1:  # first, so that the server's last value is the newest
                    run("agent.outage", "send_kept", self)
                run(self.things, "write_property", self, property_id, value)
                return
        except Exception as error:
            run("agent.outage", "keep", self, property_id, value, measured_ms, error)
            raise
        run("agent.outage", "keep", self, property_id, value, measured_ms, None)

    def wait(self, duration_ms: int) -> None:
        """Sleep; the watchdog is kept quiet."""
        self.board.wait(duration_ms)
