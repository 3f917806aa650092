"""The calls that a device makes, and its owner."""

import json
from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Request
from fastapi.responses import Response
from pydantic import JsonValue
from sqlalchemy import bindparam, select

from . import activation, firmware, history, rollouts
from .access import Caller, Ctx, ThingId, Who, accepts, is_id, json_body, of_thing
from .errors import invalid, not_found, printable
from .firmware import Firmware
from .model import Property, Thing, Version, joins_for_target, now_s, rollout_to_tell_of, target_version_id
from .schemas import PROPERTY_PATTERN, Activated, Kept, ThingChange, ThingView, VersionView
from .things import view

PropertyId = Annotated[str, Path(pattern=PROPERTY_PATTERN)]

router = APIRouter(prefix="/v1/things", tags=["device"])

_TABLE: Any = Thing.__table__
_TARGET = joins_for_target(
    select(Thing.id, Version.id, Version.number, Version.description, rollout_to_tell_of()).select_from(Thing)
).outerjoin(Version, Version.id == target_version_id())
_TARGET_BY_KEY = _TARGET.where(Thing.api_key_sha256 == bindparam("key"))
_TARGET_BY_ID = _TARGET.where(Thing.id == bindparam("id"))
_FIRMWARE = select(
    Thing.id, Version.firmware_sha256, Version.size_bytes, Version.number, Version.description
).outerjoin(Version, (Version.id == bindparam("version")) & (Version.template_id == Thing.template_id))
_FIRMWARE_BY_KEY = _FIRMWARE.where(Thing.api_key_sha256 == bindparam("key"))
_FIRMWARE_BY_ID = _FIRMWARE.where(Thing.id == bindparam("id"))


@router.put("/activate/{serial}.json", response_model=Activated)
async def activate(
    request: Request,
    context: Ctx,
    serial: str,
    secret: Annotated[str | None, Header(alias="X-DeviceSecret", description="proves that it is the board")] = None,
) -> Any:
    """A new API key for the serial number's thing, which is created when there is none. The old key ends here."""
    who = Caller(None, None, request.client.host if request.client else "")
    activated = await activation.activate(context, who, serial, secret)
    return _json({"thingId": activated.thing_id, "apiKey": activated.api_key})


@router.put("/{thing_id}.json", status_code=204, openapi_extra=accepts(ThingChange))
async def update_thing(
    context: Ctx, who: Who, thing_id: ThingId, change: Annotated[ThingChange, json_body(ThingChange)]
) -> None:
    """Set name and description. A member that is missing, or a name that is null, leaves things as they are."""
    values: dict[str, Any] = {}
    if change.name is not None:
        values["name"] = change.name
    if "description" in change.model_fields_set:
        values["description"] = change.description

    def work(connection) -> None:
        who.check_thing(connection, thing_id)
        if values:
            connection.execute(_TABLE.update().where(_TABLE.c.id == thing_id).values(values))

    await context.database.write(work)


@router.get("/{thing_id}.json", response_model=ThingView)
def get_thing(context: Ctx, who: Who, thing_id: ThingId) -> ThingView:
    """The thing, as its vendor sees it."""
    with context.database.reading() as session:
        return view(session, who.require_thing(session, thing_id))


@router.get("/{thing_id}/versions.json", response_model=list[VersionView])
def versions(context: Ctx, who: Who, thing_id: ThingId) -> list[VersionView]:
    """The versions this thing may run, oldest first."""
    with context.database.reading() as session:
        thing = who.require_thing(session, thing_id)
        of_template = select(Version).where(Version.template_id == thing.template_id).order_by(Version.number)
        return [VersionView.of(version) for version in session.scalars(of_template)]


@router.get("/{thing_id}/versions/target.json", response_model=VersionView)
async def target_version(context: Ctx, who: Who, thing_id: str) -> Any:
    """The version this thing should run; 404 when none is set. What every device asks, over and over."""
    if who.vendor is None:
        by_key = {"key": who.key_sha256}
        found = await context.database.read(lambda connection: connection.execute(_TARGET_BY_KEY, by_key).first())
        row = who.require_owner(found, thing_id)
        context.seen.mark(thing_id)
        if row[4] is not None:  # once per thing and rollout; what is not kept is not told either
            await context.database.write(lambda connection: rollouts.tell(connection, row[4], thing_id, now_s()))
    else:
        await of_thing(context, who, thing_id)
        by_id = {"id": thing_id}
        row = await context.database.read(lambda connection: connection.execute(_TARGET_BY_ID, by_id).first())
    if row is None or row[1] is None:
        raise not_found("No target version is set")
    return _json({"id": row[1], "name": str(row[2]), "description": row[3]})


@router.get("/{thing_id}/versions/current.json", response_model=VersionView)
def current_version(context: Ctx, who: Who, thing_id: ThingId) -> VersionView:
    """The version this thing has confirmed last; 404 when it has never confirmed one."""
    with context.database.reading() as session:
        version = who.require_thing(session, thing_id).current_version
        if version is None:
            raise not_found("No version has been confirmed yet")
        return VersionView.of(version)


@router.get(
    "/{thing_id}/versions/{version_id}/firmware.json",
    response_class=Response,
    responses={
        200: {
            "description": "The firmware: base64 in a JSON string, or raw for those who prefer it",
            "content": {
                "application/json": {"schema": {"type": "string", "format": "byte"}},
                "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
            },
        },
        206: {"description": "The range of it that was asked for"},
        304: {"description": "What the client has is still right"},
    },
)
async def get_firmware(request: Request, context: Ctx, who: Who, thing_id: str, version_id: str) -> Response:
    """The firmware of a version, streamed."""
    query = _FIRMWARE_BY_KEY if who.vendor is None else _FIRMWARE_BY_ID
    names = {"key": who.key_sha256, "id": thing_id, "version": version_id if is_id(version_id) else ""}
    if who.vendor is not None:
        await of_thing(context, who, thing_id)
    row: Any = await context.database.read(lambda connection: connection.execute(query, names).first())
    if who.vendor is None:
        who.require_owner(row, thing_id)
        context.seen.mark(thing_id)
    if row is None or row[1] is None:
        raise not_found(f"There is no version {printable(version_id)}")
    wanted = Firmware(row[1], row[2], str(row[3]), row[4])
    chosen = firmware.choose(context.files, wanted, request.headers, context.settings.firmware_form)
    return firmware.answer(chosen, request.headers, context.settings.accel_prefix)


@router.put("/{thing_id}/versions/{version_id}.json", status_code=204)
async def confirm_version(context: Ctx, who: Who, thing_id: ThingId, version_id: str) -> None:
    """The thing says that it runs this version now."""
    await context.database.write(lambda connection: history.confirm(connection, who, thing_id, version_id))


@router.put("/{thing_id}/properties/{property_id}/value.json", status_code=204, openapi_extra=accepts(JsonValue))
async def write_property(
    context: Ctx, who: Who, thing_id: ThingId, property_id: PropertyId, value: Annotated[Any, json_body(JsonValue)]
) -> None:
    """Keep a value; the property comes into being with its first one."""
    try:
        value_json = json.dumps(value, allow_nan=False)
    except ValueError:
        raise invalid("The value is outside of the range of numbers") from None
    if len(value_json) > context.settings.value_max_chars:
        raise invalid(f"The value is longer than {context.settings.value_max_chars} characters")
    settings = context.settings
    await context.database.write(
        lambda connection: history.write(connection, settings, who, thing_id, property_id, value_json)
    )


@router.get("/{thing_id}/properties/{property_id}/value.json", response_model=Any)
def read_property(context: Ctx, who: Who, thing_id: ThingId, property_id: PropertyId) -> Response:
    """The value written last; 404 before the first one."""
    with context.database.reading() as session:
        who.check_thing(session, thing_id)
        kept = session.get(Property, (thing_id, property_id))
        if kept is None:
            raise not_found(f"The thing has no property {property_id}")
        return Response(kept.value_json, media_type="application/json")


@router.get("/{thing_id}/properties/{property_id}/history.json", response_model=list[Kept])
def property_history(context: Ctx, who: Who, thing_id: ThingId, property_id: PropertyId) -> list[Kept]:
    """What is kept of a property's values, oldest first: the first one of every interval."""
    with context.database.reading() as session:
        who.check_thing(session, thing_id)
        return history.readings(session, context.settings, thing_id, property_id)


@router.get("/{thing_id}/reports.json", response_model=list[Kept])
def reports(context: Ctx, who: Who, thing_id: ThingId) -> list[Kept]:
    """What the thing has told about its updates, oldest first."""
    with context.database.reading() as session:
        who.check_thing(session, thing_id)
        return history.reports(session, thing_id)


def _json(value: Any) -> Response:
    return Response(json.dumps(value), media_type="application/json")
