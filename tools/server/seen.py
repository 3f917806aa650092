"""When things were last seen: noted in memory, written together once in a while, to the minute."""

from typing import Any

from sqlalchemy import ARRAY, Connection, String, any_, bindparam, or_, select, update

from .database import Database
from .model import Thing, now_s

_PRECISION_S = 60


class Seen:
    """Who has called since the last writing, which is all that a crash loses."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._pending: set[str] = set()

    def mark(self, thing_id: str, last_seen_at: int | None = None) -> None:
        """The thing has called just now. Nothing is to be done when it was seen within the minute, if that is known."""
        if last_seen_at is None or now_s() - last_seen_at >= _PRECISION_S:
            self._pending.add(thing_id)

    async def write(self) -> None:
        """Write what is new. What the database refuses is tried again at the next time."""
        if not self._pending:
            return
        pending, self._pending = self._pending, set()
        write = _write_each if self._database.is_sqlite else _write_together
        try:
            await self._database.write(lambda connection: write(connection, sorted(pending), now_s()))
        except BaseException:
            self._pending |= pending
            raise


_TABLE: Any = Thing.__table__
_IS_OLD = or_(_TABLE.c.last_seen_at.is_(None), _TABLE.c.last_seen_at <= bindparam("at") - _PRECISION_S)
_SET = update(_TABLE).values(last_seen_at=bindparam("at"))
_EACH = _SET.where(_TABLE.c.id == bindparam("thing"), _IS_OLD)
# Whoever has a thing's row just now has heard of it: nobody waits for it, and nobody can meet in a deadlock.
_FREE = (
    select(_TABLE.c.id)
    .where(_TABLE.c.id == any_(bindparam("things", type_=ARRAY(String))), _IS_OLD)
    .with_for_update(skip_locked=True, key_share=True)
)
_TOGETHER = _SET.where(_TABLE.c.id.in_(_FREE))


def _write_each(connection: Connection, things: list[str], at: int) -> None:
    connection.execute(_EACH, [{"thing": thing_id, "at": at} for thing_id in things])


def _write_together(connection: Connection, things: list[str], at: int) -> None:
    connection.execute(_TOGETHER, {"things": things, "at": at})
