"""Things as a vendor sees them: one, and a page of many."""

import json
from collections.abc import Iterable

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.orm import Session, joinedload, selectinload

from .model import Thing, Version, target_version_id, targets_of
from .schemas import ThingView

PAGE_MAX = 1000
"""How many things come in one answer at most."""

STATUSES = ("no target version", "update pending", "up to date")


def view(session: Session, thing: Thing) -> ThingView:
    """The thing with its versions and properties."""
    target_id = session.execute(targets_of(Thing.id).where(Thing.id == thing.id)).one()[1]
    return _view(thing, session.get(Version, target_id) if target_id else None)


def page(session: Session, conditions: Iterable[ColumnElement[bool]], after: str, limit: int) -> list[ThingView]:
    """The things that meet all conditions, by serial number, behind `after`."""
    query = targets_of(Thing).where(Thing.serial > after, *conditions).order_by(Thing.serial).limit(limit)
    rows = session.execute(query.options(joinedload(Thing.current_version), selectinload(Thing.properties))).all()
    wanted = {target_id for _, target_id in rows if target_id}
    versions = {each.id: each for each in session.scalars(select(Version).where(Version.id.in_(wanted)))}
    return [_view(thing, versions.get(target_id)) for thing, target_id in rows]


def matching(
    serial: str | None = None,
    search: str | None = None,
    name: str | None = None,
    status: str | None = None,
    version_id: str | None = None,
    template_id: str | None = None,
    seen_before: int | None = None,
) -> list[ColumnElement[bool]]:
    """The conditions for `page`. `search`: the serial number begins with it, or the name does; `version_id`: what runs;
    `seen_before`: last seen before that time, or never."""
    conditions: list[ColumnElement[bool]] = []
    if serial is not None:
        conditions.append(Thing.serial == serial)
    if search:
        conditions.append(
            or_(Thing.serial.startswith(search, autoescape=True), Thing.name.startswith(search, autoescape=True))
        )
    if name is not None:
        conditions.append(Thing.name == name)
    if status is not None:
        conditions.append(_has_status(status))
    if version_id is not None:
        conditions.append(Thing.current_version_id == version_id)
    if template_id is not None:
        conditions.append(Thing.template_id == template_id)
    if seen_before is not None:
        conditions.append(or_(Thing.last_seen_at < seen_before, Thing.last_seen_at.is_(None)))
    return conditions


def _has_status(status: str) -> ColumnElement[bool]:
    target = target_version_id()
    if status == "no target version":
        return target.is_(None)
    is_current = Thing.current_version_id == target
    if status == "up to date":
        return is_current
    return target.is_not(None) & (Thing.current_version_id.is_(None) | ~is_current)


def _view(thing: Thing, target: Version | None) -> ThingView:
    return ThingView.of(thing, target, {kept.property_id: json.loads(kept.value_json) for kept in thing.properties})
