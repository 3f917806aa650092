"""What a thing has told: values, and how its updates went. Its size per thing is bounded by how it is kept."""

import json
from typing import Any

from sqlalchemy import Connection, Table, bindparam, delete, func, select, text, update
from sqlalchemy.orm import Session

from . import rollouts
from .access import Caller, is_id
from .errors import ApiError, not_found, printable
from .model import Event, Property, Reading, Report, Thing, Version, now_s
from .schemas import Kept, time_of
from .settings import Settings

STATUS = "status"
"""The property in which a device tells how its last update went, unless its settings name another."""

REPORTS_KEPT = 64
"""How many of a thing's reports are kept."""

FAILED_PHASES = ("trial", "given up", "left")
"""What a device calls an update that ended badly: its trial, all attempts at it, or its time after
the trial, so that the board has left it."""

_READING_MAX_CHARS = 64  # longer values are kept as the last one only
_REPORT_MAX_CHARS = 1024

_THINGS: Table = Thing.__table__  # type: ignore[assignment]
_PROPERTIES: Table = Property.__table__  # type: ignore[assignment]

_BEFORE = select(_THINGS.c.id, _PROPERTIES.c.value_json, _PROPERTIES.c.written_at).outerjoin(
    _PROPERTIES,
    (_PROPERTIES.c.thing_id == _THINGS.c.id) & (_PROPERTIES.c.property_id == bindparam("property")),
)
_BEFORE_BY_KEY = _BEFORE.where(_THINGS.c.api_key_sha256 == bindparam("key"))
_BEFORE_BY_ID = _BEFORE.where(_THINGS.c.id == bindparam("thing"))
_COUNT = select(func.count()).select_from(_PROPERTIES).where(_PROPERTIES.c.thing_id == bindparam("thing"))
# One statement for both databases: SQLite and PostgreSQL share this syntax, SQLAlchemy's builders do not.
_WRITE = text(
    "INSERT INTO properties (thing_id, property_id, value_json, written_at) VALUES (:thing, :property, :value, :at) "
    "ON CONFLICT (thing_id, property_id) DO UPDATE SET value_json = excluded.value_json, "
    "written_at = excluded.written_at"
)
_READ = text(
    "INSERT INTO readings (thing_id, property_id, slot, at, value_json) VALUES (:thing, :property, :slot, :at, :value) "
    "ON CONFLICT (thing_id, property_id, slot) DO UPDATE SET at = excluded.at, value_json = excluded.value_json"
)
_READ_LATE = text(
    "INSERT INTO readings (thing_id, property_id, slot, at, value_json) VALUES (:thing, :property, :slot, :at, :value) "
    "ON CONFLICT (thing_id, property_id, slot) DO UPDATE SET at = excluded.at, value_json = excluded.value_json "
    "WHERE readings.at < :begin OR readings.at > excluded.at"
)
_TELL = text(
    "INSERT INTO reports (thing_id, slot, at, value_json) VALUES (:thing, :slot, :at, :value) "
    "ON CONFLICT (thing_id, slot) DO UPDATE SET at = excluded.at, value_json = excluded.value_json"
)
_NEXT_REPORT = (
    update(_THINGS)
    .where(_THINGS.c.id == bindparam("thing"))
    .values(reports=_THINGS.c.reports + 1, failed_at=bindparam("failed_at"))
    .returning(_THINGS.c.reports)
)


def write(
    connection: Connection,
    settings: Settings,
    who: Caller,
    thing_id: str,
    property_id: str,
    value_json: str,
    age_s: int = 0,
) -> None:
    """Keep a value as the property's last one, and in its history; one that comes late only in the latter."""
    at = now_s() - age_s
    names = {"thing": thing_id, "property": property_id}
    if who.vendor is None:
        found = connection.execute(_BEFORE_BY_KEY, names | {"key": who.key_sha256}).first()
        before = who.require_owner(found, thing_id)
    else:
        before = connection.execute(_BEFORE_BY_ID, names).first()
        if before is None:
            raise not_found(f"There is no thing {printable(thing_id)}")
    _, old, written_at = before
    if old is None and connection.execute(_COUNT, {"thing": thing_id}).scalar_one() >= settings.properties_max:
        raise ApiError(409, f"The thing has {settings.properties_max} properties already: it can have no more")
    values = names | {"value": value_json, "at": at}
    if written_at is not None and at < written_at and age_s:
        _write_late(connection, settings, values, age_s)
        return
    connection.execute(_WRITE, values)
    if property_id == STATUS:
        if value_json != old and len(value_json) <= _REPORT_MAX_CHARS:
            tell(connection, thing_id, value_json, at)
        return
    interval = at // settings.history_interval_s
    is_first = written_at is None or written_at // settings.history_interval_s != interval
    if is_first and len(value_json) <= _READING_MAX_CHARS:
        connection.execute(_READ, values | {"slot": interval % settings.history_slots})


def _write_late(connection: Connection, settings: Settings, values: dict[str, Any], age_s: int) -> None:
    interval = values["at"] // settings.history_interval_s
    is_kept = age_s < settings.history_slots * settings.history_interval_s and values["property"] != STATUS
    if is_kept and len(values["value"]) <= _READING_MAX_CHARS:
        begin = interval * settings.history_interval_s
        connection.execute(_READ_LATE, values | {"slot": interval % settings.history_slots, "begin": begin})


def confirm(connection: Connection, who: Caller, thing_id: str, version_id: str) -> None:
    """The thing runs this version now. 404 when its template has no such version."""
    who.check_thing(connection, thing_id)
    of_thing = select(_THINGS.c.current_version_id, _THINGS.c.template_id).where(_THINGS.c.id == thing_id)
    before, template_id = connection.execute(of_thing.with_for_update()).one()
    wanted = select(Version.number).where(Version.id == version_id, Version.template_id == template_id)
    number = connection.scalar(wanted) if is_id(version_id) else None
    if number is None:
        raise not_found(f"There is no version {printable(version_id)}")
    if before == version_id:
        return
    at = now_s()
    changed = update(_THINGS).where(_THINGS.c.id == thing_id)
    connection.execute(changed.values(current_version_id=version_id, current_since=at))
    tell(connection, thing_id, json.dumps({"phase": "confirmed", "versionId": version_id, "attempt": None}), at)
    rollouts.confirmed(connection, thing_id, version_id, at)


def tell(connection: Connection, thing_id: str, value_json: str, at: int) -> None:
    """Keep a report; it takes the place of the one that is REPORTS_KEPT older."""
    phase, version_id = _phase_of(value_json)
    has_failed = phase in FAILED_PHASES
    number = connection.execute(_NEXT_REPORT, {"thing": thing_id, "failed_at": at if has_failed else None}).scalar_one()
    connection.execute(_TELL, {"thing": thing_id, "slot": number % REPORTS_KEPT, "at": at, "value": value_json})
    if has_failed:
        rollouts.failed(connection, thing_id, version_id, at)


def readings(session: Session, settings: Settings, thing_id: str, property_id: str) -> list[Kept]:
    """The values of a property within the time that is kept, oldest first."""
    since = now_s() - settings.history_slots * settings.history_interval_s
    query = select(Reading.at, Reading.value_json).where(
        Reading.thing_id == thing_id, Reading.property_id == property_id, Reading.at > since
    )
    return [_kept(row) for row in session.execute(query.order_by(Reading.at))]


def reports(session: Session, thing_id: str) -> list[Kept]:
    """What the thing has told about its updates, oldest first."""
    thing = session.get_one(Thing, thing_id)
    rows = session.execute(select(Report.at, Report.value_json, Report.slot).where(Report.thing_id == thing_id)).all()
    # Two reports can have one time: the slots count up, and begin again behind the newest.
    return [_kept(row) for row in sorted(rows, key=lambda row: (row.slot - thing.reports - 1) % REPORTS_KEPT)]


def forget(connection: Connection, settings: Settings) -> None:
    """Remove the events that are too old or too many. (The history of things needs no removing.)"""
    old = Event.at < now_s() - settings.events_days * 86_400
    newest = connection.scalar(select(func.max(Event.id))) or 0
    connection.execute(delete(Event).where(old | (Event.id <= newest - settings.events_max)))


def _phase_of(value_json: str) -> tuple[str, str]:
    """What a report says happened, with which version; "" where it says nothing that is known."""
    told = json.loads(value_json)
    told = told if isinstance(told, dict) else {}
    phase, version_id = told.get("phase"), told.get("versionId")
    known_id = version_id if isinstance(version_id, str) and is_id(version_id) else ""
    return phase if isinstance(phase, str) else "", known_id


def _kept(row: Any) -> Kept:
    return Kept(at=time_of(row.at), value=json.loads(row.value_json))
