"""The application: the calls that a device makes, and the parts put together."""

import json
import re
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import Response
from pydantic import BaseModel, Field, JsonValue
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from . import errors, firmware, vendor
from .access import Context, Ctx, Who, json_body, sha256_hex, version_of
from .errors import invalid, not_found
from .model import Property, SerialNumber, Template, Thing, Version, new_id, now

_PROPERTY_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_VALUE_MAX_CHARS = 64 * 1024

router = APIRouter(prefix="/v1/things")


class ThingChange(BaseModel):
    name: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    description: Annotated[str, Field(max_length=2000)] | None = None


def create_app(context: Context) -> FastAPI:
    """The GadgetKeeper server as an ASGI application."""
    app = FastAPI(title="GadgetKeeper", openapi_url=None, redirect_slashes=False)
    app.state.context = context
    errors.install(app)
    app.include_router(router)
    app.include_router(vendor.router)
    return app


@router.put("/activate/{serial}.json")
def activate(context: Ctx, serial: str) -> dict:
    """A new API key for the serial number's thing, which is created when there is none. The old key ends here."""
    api_key = new_id()
    with context.database.writing() as session:
        registered = session.get(SerialNumber, serial)
        if registered is None:
            raise not_found(f"The serial number {serial} is not registered")
        thing = session.scalar(select(Thing).where(Thing.serial == serial))
        if thing is None:
            thing = _new_thing(session, registered)
        thing.api_key_sha256 = sha256_hex(api_key)
        session.flush()
        return {"thingId": thing.id, "apiKey": api_key}


@router.put("/{thing_id}.json", status_code=204)
def update_thing(context: Ctx, who: Who, thing_id: str, change: Annotated[ThingChange, json_body(ThingChange)]) -> None:
    """Set name and description. A member that is missing, or a name that is null, leaves things as they are."""
    with context.database.writing() as session:
        thing = who.require_thing(session, thing_id)
        if change.name is not None:
            thing.name = change.name
        if "description" in change.model_fields_set:
            thing.description = change.description


@router.get("/{thing_id}.json")
def get_thing(context: Ctx, who: Who, thing_id: str) -> dict:
    """The thing, as its vendor sees it."""
    with context.database.reading() as session:
        return who.require_thing(session, thing_id).view()


@router.get("/{thing_id}/versions.json")
def versions(context: Ctx, who: Who, thing_id: str) -> list[dict]:
    """The versions this thing may run, oldest first."""
    with context.database.reading() as session:
        thing = who.require_thing(session, thing_id)
        of_template = select(Version).where(Version.template_id == thing.template_id).order_by(Version.number)
        return [version.view() for version in session.scalars(of_template)]


@router.get("/{thing_id}/versions/target.json")
def target_version(context: Ctx, who: Who, thing_id: str) -> dict:
    """The version this thing should run; 404 when none is set."""
    with context.database.reading() as session:
        version = who.require_thing(session, thing_id).target_version
        if version is None:
            raise not_found("No target version is set")
        return version.view()


@router.get("/{thing_id}/versions/current.json")
def current_version(context: Ctx, who: Who, thing_id: str) -> dict:
    """The version this thing has confirmed last; 404 when it has never confirmed one."""
    with context.database.reading() as session:
        version = who.require_thing(session, thing_id).current_version
        if version is None:
            raise not_found("No version has been confirmed yet")
        return version.view()


@router.get("/{thing_id}/versions/{version_id}/firmware.json")
def get_firmware(request: Request, context: Ctx, who: Who, thing_id: str, version_id: str) -> Response:
    """The firmware of a version, streamed."""
    with context.database.reading() as session:
        version = version_of(session, who.require_thing(session, thing_id).template_id, version_id)
        return firmware.answer(request, context.firmware_files, version, context.firmware_form)


@router.put("/{thing_id}/versions/{version_id}.json", status_code=204)
def confirm_version(context: Ctx, who: Who, thing_id: str, version_id: str) -> None:
    """The thing says that it runs this version now."""
    with context.database.writing() as session:
        thing = who.require_thing(session, thing_id)
        thing.current_version_id = version_of(session, thing.template_id, version_id).id
        thing.current_since = now()


@router.put("/{thing_id}/properties/{property_id}/value.json", status_code=204)
def write_property(
    context: Ctx, who: Who, thing_id: str, property_id: str, value: Annotated[Any, json_body(JsonValue)]
) -> None:
    """Keep a value; the property comes into being with its first one."""
    if not _PROPERTY_ID.fullmatch(property_id):
        raise invalid("A property Id is 1 to 64 of A-Z a-z 0-9 . _ -")
    try:
        value_json = json.dumps(value, allow_nan=False)
    except ValueError:
        raise invalid("The value is outside of the range of numbers") from None
    if len(value_json) > _VALUE_MAX_CHARS:
        raise invalid(f"The value is longer than {_VALUE_MAX_CHARS} characters")
    with context.database.writing() as session:
        thing = who.require_thing(session, thing_id)
        session.merge(Property(thing_id=thing.id, property_id=property_id, value_json=value_json))


@router.get("/{thing_id}/properties/{property_id}/value.json")
def read_property(context: Ctx, who: Who, thing_id: str, property_id: str) -> Response:
    """The value written last; 404 before the first one."""
    with context.database.reading() as session:
        thing = who.require_thing(session, thing_id)
        kept = session.get(Property, (thing.id, property_id))
        if kept is None:
            raise not_found(f"The thing has no property {property_id}")
        return Response(kept.value_json, media_type="application/json")


def _new_thing(session: Session, registered: SerialNumber) -> Thing:
    template = session.get_one(Template, registered.product.template_id)
    count = session.scalars(select(func.count()).where(Thing.template_id == template.id)).one()
    thing = Thing(serial=registered.serial, template_id=template.id, name=f"{template.name} {count + 1}")
    session.add(thing)
    return thing
