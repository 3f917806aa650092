"""When things were last seen: noted in memory, written together once in a while, to the minute."""

from typing import Any

from sqlalchemy import bindparam, update

from .database import Database
from .model import Thing, now_s

_PRECISION_S = 60
_KNOWN_MAX = 200_000


class Seen:
    """Who has called since the last writing. What a crash loses of it is a minute's worth of times."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._written: dict[str, int] = {}
        self._pending: dict[str, int] = {}

    def mark(self, thing_id: str) -> None:
        """The thing has called just now."""
        now = now_s()
        if now - self._written.get(thing_id, 0) >= _PRECISION_S:
            self._pending[thing_id] = now

    async def write(self) -> None:
        """Write what is new. What the database refuses is tried again at the next time."""
        if not self._pending:
            return
        pending, self._pending = self._pending, {}
        rows = [{"thing": thing_id, "at": at} for thing_id, at in sorted(pending.items())]
        try:
            await self._database.write(lambda connection: connection.execute(_SEEN, rows))
        except BaseException:
            self._pending = pending | self._pending
            raise
        if len(self._written) > _KNOWN_MAX:
            self._written.clear()
        self._written.update(pending)


_TABLE: Any = Thing.__table__
_SEEN = update(_TABLE).where(_TABLE.c.id == bindparam("thing")).values(last_seen_at=bindparam("at"))
