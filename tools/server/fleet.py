"""The fleet in numbers: how many things run which version, counted once in a while and kept for a picture over time."""

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Connection, delete, func, insert, select
from sqlalchemy.orm import Session

from .model import FleetCount, Thing, joins_for_target

KEPT_DAYS = 90
"""How long counts are kept."""

_HOUR_S = 3600
_DAY_S = 86_400
NONE = ""
"""In place of a version's Id: things that have confirmed none yet."""


@dataclass(frozen=True)
class Counted:
    """How many things ran each version, by its Id, at a time."""

    at: int
    things: dict[str, int]

    @property
    def total(self) -> int:
        """Return the number of things."""
        return sum(self.things.values())


def count(connection: Connection, at: int) -> None:
    """Count the things by version, in place of this hour's count so far; forget what is too old."""
    hour = at // _HOUR_S * _HOUR_S
    by_version = select(Thing.template_id, Thing.current_version_id, func.count())
    rows = [
        {"template_id": template_id, "at": hour, "version_id": version_id or NONE, "things": things}
        for template_id, version_id, things in connection.execute(
            by_version.group_by(Thing.template_id, Thing.current_version_id)
        )
    ]
    connection.execute(delete(FleetCount).where((FleetCount.at == hour) | (FleetCount.at < at - KEPT_DAYS * _DAY_S)))
    if rows:
        connection.execute(insert(FleetCount), rows)


def by_day(session: Session, template_id: str, at: int, days: int) -> list[Counted]:
    """The last count of each of the last so many days, oldest first; days without a count are left out. Where nothing
    was ever counted, what there is now."""
    first = (at // _DAY_S - days + 1) * _DAY_S
    query = select(FleetCount.at, FleetCount.version_id, FleetCount.things).where(
        FleetCount.template_id == template_id, FleetCount.at >= first
    )
    counts: dict[int, Counted] = {}
    for hour, version_id, things in session.execute(query.order_by(FleetCount.at)):
        day = hour // _DAY_S
        if day not in counts or counts[day].at != hour:
            counts[day] = Counted(hour, {})
        counts[day].things[version_id] = things
    return list(counts.values()) or [_now(session, template_id, at)]


def how_many(session: Session, conditions: Iterable, at_most: int) -> int:
    """How many things meet all conditions, the target version's too; beyond `at_most` it stops counting."""
    found = joins_for_target(select(Thing.id).select_from(Thing)).where(*conditions).limit(at_most + 1).subquery()
    return session.scalar(select(func.count()).select_from(found)) or 0


def _now(session: Session, template_id: str, at: int) -> Counted:
    query = select(Thing.current_version_id, func.count()).where(Thing.template_id == template_id)
    rows = session.execute(query.group_by(Thing.current_version_id))
    return Counted(at, {version_id or NONE: things for version_id, things in rows})
