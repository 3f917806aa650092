"""The calls of the vendor: products and serial numbers, templates and versions, targets and pins, lists."""

import re
from collections import Counter
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response
from sqlalchemy import delete, func, or_, select
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from . import check, things
from .access import Caller, Ctx, Who, accepts, is_id, json_body, record, vendor_only, version_of
from .errors import conflict, invalid, not_found, printable
from .firmware import Upload
from .model import Event, Product, Property, Reading, Report, Rollout, SerialNumber, Template, Thing, Vendor, Version
from .passwords import hash_password, new_password
from .schemas import (
    SERIAL_PATTERN,
    Added,
    EventView,
    NewProduct,
    NewSerials,
    NewTemplate,
    NewVendor,
    ProductChange,
    ProductView,
    SerialChange,
    SerialView,
    TemplateView,
    Text,
    ThingView,
    VendorCreated,
    VendorVersionView,
    VendorView,
    VersionDetails,
)

_SERIAL = re.compile(SERIAL_PATTERN)
_NAMED_AT_MOST = 10
_QUERY_BATCH = 500
_SERIALS_MAX_BYTES = 32 * 1024 * 1024
_DETAILS_MAX_CHARS = 16_384

router = APIRouter(prefix="/v1", tags=["vendor"], dependencies=[Depends(vendor_only)])

Force = Annotated[bool, Query(description="also an unsigned version after a signed one")]


@router.post("/templates.json", openapi_extra=accepts(NewTemplate))
def create_template(context: Ctx, who: Who, new: Annotated[NewTemplate, json_body(NewTemplate)]) -> TemplateView:
    """A new template; its name must be new as well."""
    with context.database.writing() as session:
        _require_unused(session, Template, new.name)
        template = Template(name=new.name, description=new.description)
        session.add(template)
        session.flush()
        record(session, who, "template created", template.id, new.name)
        return TemplateView.of(template)


@router.get("/templates.json")
def templates(context: Ctx) -> list[TemplateView]:
    """All templates by name, each with its target version."""
    with context.database.reading() as session:
        return [TemplateView.of(template) for template in session.scalars(select(Template).order_by(Template.name))]


@router.post("/products.json", openapi_extra=accepts(NewProduct))
def create_product(context: Ctx, who: Who, new: Annotated[NewProduct, json_body(NewProduct)]) -> ProductView:
    """A new product; its name must be new as well."""
    with context.database.writing() as session:
        template = require_template(session, new.templateId)
        _require_unused(session, Product, new.name)
        product = Product(
            name=new.name,
            description=new.description,
            template_id=template.id,
            requires_device_secret=new.requiresDeviceSecret,
        )
        session.add(product)
        session.flush()
        record(session, who, "product created", product.id, new.name)
        return ProductView.of(product)


@router.get("/products.json")
def products(context: Ctx) -> list[ProductView]:
    """All products by name."""
    with context.database.reading() as session:
        return [ProductView.of(product) for product in session.scalars(select(Product).order_by(Product.name))]


@router.put("/products/{product_id}.json", status_code=204, openapi_extra=accepts(ProductChange))
def change_product(
    context: Ctx, who: Who, product_id: str, change: Annotated[ProductChange, json_body(ProductChange)]
) -> None:
    """Require device secrets for the activation of the product's serial numbers, or not."""
    with context.database.writing() as session:
        product = _product(session, product_id)
        product.requires_device_secret = change.requiresDeviceSecret
        kind = "device secret required" if change.requiresDeviceSecret else "device secret not required"
        record(session, who, kind, product.id, product.name)


@router.post("/products/{product_id}/serials.json", openapi_extra=accepts(NewSerials))
def add_serials(
    context: Ctx, who: Who, product_id: str, new: Annotated[NewSerials, json_body(NewSerials, _SERIALS_MAX_BYTES)]
) -> Added:
    """Register serial numbers: all of them, or none and a 400 that names the bad ones."""
    serials = new.serialNumbers
    _refuse("are not 1 to 64 of A-Z a-z 0-9 . _ - (not starting with .)", [s for s in serials if not is_serial(s)])
    times = Counter(serial.lower() for serial in serials)
    _refuse("are given more than once", [serial for serial in serials if times[serial.lower()] > 1])
    _refuse("have a secret but are not among them", sorted(new.secretSha256.keys() - set(serials)))
    with context.database.writing() as session:
        product = _product(session, product_id)
        known: list[str] = []
        for start in range(0, len(serials), _QUERY_BATCH):
            batch = serials[start : start + _QUERY_BATCH]
            folded = {serial.lower(): serial for serial in batch}
            there = session.scalars(select(SerialNumber.folded).where(SerialNumber.folded.in_(folded)))
            known += [folded[each] for each in there]
        _refuse("are registered already", sorted(known))
        rows = [
            {
                "serial": serial,
                "folded": serial.lower(),
                "product_id": product_id,
                "secret_sha256": new.secretSha256.get(serial),
            }
            for serial in serials
        ]
        table: Any = SerialNumber.__table__
        session.execute(table.insert(), rows)
        record(session, who, "serial numbers added", product.id, f"{len(serials)} to {product.name}")
    return Added(added=len(serials))


@router.get("/products/{product_id}/serials.json")
def serials(context: Ctx, product_id: str) -> list[str]:
    """The serial numbers registered under a product, in order."""
    with context.database.reading() as session:
        _product(session, product_id)
        of_product = select(SerialNumber.serial).where(SerialNumber.product_id == product_id)
        return list(session.scalars(of_product.order_by(SerialNumber.serial)))


@router.get("/serials/{serial}.json")
def get_serial(context: Ctx, serial: str) -> SerialView:
    """A serial number: its product, and whether it is blocked or has a secret."""
    with context.database.reading() as session:
        return SerialView.of(_serial(session, serial))


@router.put("/serials/{serial}.json", status_code=204, openapi_extra=accepts(SerialChange))
def change_serial(
    context: Ctx, who: Who, serial: str, change: Annotated[SerialChange, json_body(SerialChange)]
) -> None:
    """Block a stolen board: it can be activated no more, and its key ends here. Let it in again. Give its secret's
    hash. A member that is missing or null leaves things as they are."""
    with context.database.writing() as session:
        registered = _serial(session, serial)
        if change.secretSha256 is not None:
            registered.secret_sha256 = change.secretSha256
            record(session, who, "device secret set", serial)
        if change.blocked is None or change.blocked == registered.is_blocked:
            return
        registered.is_blocked = change.blocked
        thing = session.scalar(select(Thing).where(Thing.serial == serial))
        if thing is not None and change.blocked:
            thing.api_key_sha256 = None
        record(session, who, "serial number blocked" if change.blocked else "serial number let in again", serial)


@router.delete("/serials/{serial}.json", status_code=204)
def remove_serial(context: Ctx, who: Who, serial: str) -> None:
    """Take back a serial number that was never activated. 409 when it has a thing."""
    with context.database.writing() as session:
        registered = _serial(session, serial)
        if session.scalar(select(Thing.id).where(Thing.serial == serial)):
            raise conflict(f"{serial} has been activated: delete its thing first, or block it")
        session.delete(registered)
        record(session, who, "serial number removed", serial)


@router.post(
    "/templates/{template_id}/versions.json",
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
async def create_version(
    request: Request,
    context: Ctx,
    who: Who,
    template_id: str,
    description: Annotated[Text, Query()] = "",
) -> VendorVersionView:
    """A new version of the template. The body is its firmware, raw, straight to disk; the name is the next number. 400
    when no device would take it."""
    await run_in_threadpool(require_template_there, context, template_id)
    try:
        upload = await context.files.take_in(request.stream())
    except ClientDisconnect:
        raise invalid("The firmware ended early") from None
    try:
        return await run_in_threadpool(add_version, context, who, template_id, description, upload)
    finally:
        upload.drop()


@router.get("/templates/{template_id}/versions.json")
def versions(context: Ctx, template_id: str) -> list[VendorVersionView]:
    """The versions of a template, oldest first."""
    with context.database.reading() as session:
        template = require_template(session, template_id)
        of_template = select(Version).where(Version.template_id == template.id).order_by(Version.number)
        return [VendorVersionView.of(version) for version in session.scalars(of_template)]


@router.put(
    "/templates/{template_id}/versions/{version_id}/details.json",
    status_code=204,
    openapi_extra=accepts(VersionDetails),
)
def set_details(
    context: Ctx,
    who: Who,
    template_id: str,
    version_id: str,
    new: Annotated[VersionDetails, json_body(VersionDetails)],
) -> None:
    """Keep something about a version: a release number, notes. The version itself does not change."""
    text = new.model_dump_json()
    if len(text) > _DETAILS_MAX_CHARS or "\\u0000" in text:
        raise invalid(f"The details are longer than {_DETAILS_MAX_CHARS} characters, or hold a null character")
    with context.database.writing() as session:
        version_of(session, template_id, version_id).details = new.details


@router.delete("/templates/{template_id}/versions/{version_id}.json", status_code=204)
def remove_version(context: Ctx, who: Who, template_id: str, version_id: str) -> None:
    """Remove a version that nothing runs and nothing should run. 409 when something does."""
    with context.database.writing() as session:
        version = version_of(session, template_id, version_id)
        _require_free(session, version)
        sha256 = version.firmware_sha256
        session.delete(version)
        session.flush()
        record(session, who, "version removed", template_id, f"version {version.name}")
        is_last = not _is_used(session, sha256)
    if is_last:  # after the commit: a version that is there has its firmware
        context.files.remove(sha256)


@router.put("/templates/{template_id}/target/{version_id}.json", status_code=204)
def set_target(context: Ctx, who: Who, template_id: str, version_id: str, force: Force = False) -> None:
    """From now on the template's things should run this version, except those with a pin. 409 for an unsigned version
    after a signed one: devices that trust a key would all download it and refuse it."""
    with context.database.writing() as session:
        template = require_template(session, template_id, lock=True)
        version = version_of(session, template.id, version_id)
        if template.rollout_id is not None:
            raise conflict("A rollout decides what this template's things run: cancel it first, or let it finish")
        require_signed(session, template, version, force)
        template.target_version_id = version.id
        record(session, who, "target set", template.id, f"version {version.name}" + ", by force" * force)


@router.get("/things.json")
def list_things(
    request: Request,
    response: Response,
    context: Ctx,
    serialNumber: Annotated[str | None, Query(description="this one only")] = None,
    search: Annotated[str | None, Query(description="the serial number or the name begins with it")] = None,
    name: str | None = None,
    status: Literal["no target version", "update pending", "up to date"] | None = None,
    version: Annotated[str | None, Query(description="Id of the version that they run")] = None,
    after: Annotated[str, Query(description="begin behind this serial number")] = "",
    limit: Annotated[int, Query(ge=1, le=things.PAGE_MAX)] = things.PAGE_MAX,
) -> list[ThingView]:
    """Things by serial number, a page of them; the header `Link` has the address of the next."""
    if any("\0" in (given or "") for given in (serialNumber, search, name, version, after)):
        return []
    conditions = things.matching(serialNumber, search, name, status, version)
    with context.database.reading() as session:
        found = things.page(session, conditions, after, limit)
    if len(found) == limit:
        following = request.url.include_query_params(after=found[-1].serialNumber)
        response.headers["Link"] = f'<{following.path}?{following.query}>; rel="next"'
    return found


@router.put("/things/{thing_id}/pin/{version_id}.json", status_code=204)
def pin(context: Ctx, who: Who, thing_id: str, version_id: str, force: Force = False) -> None:
    """From now on this thing should run this version, whatever its template's target is."""
    with context.database.writing() as session:
        thing = who.require_thing(session, thing_id)
        version = version_of(session, thing.template_id, version_id)
        require_signed(session, thing.template, version, force)
        thing.pinned_version_id = version.id
        record(session, who, "pinned", thing.serial, f"version {version.name}" + ", by force" * force)


@router.delete("/things/{thing_id}/pin.json", status_code=204)
def unpin(context: Ctx, who: Who, thing_id: str) -> None:
    """The thing follows its template's target again."""
    with context.database.writing() as session:
        thing = who.require_thing(session, thing_id)
        thing.pinned_version_id = None
        record(session, who, "unpinned", thing.serial)


@router.delete("/things/{thing_id}.json", status_code=204)
def delete_thing(context: Ctx, who: Who, thing_id: str) -> None:
    """The thing is no more, nor is its key. Its serial number stays registered: activated again, it makes a new one."""
    with context.database.writing() as session:
        thing = who.require_thing(session, thing_id)
        record(session, who, "thing deleted", thing.serial, thing.id)
        for kind in (Property, Reading, Report):
            session.execute(delete(kind).where(kind.thing_id == thing_id))
        session.execute(delete(Thing).where(Thing.id == thing_id))


@router.get("/events.json")
def events(
    context: Ctx,
    subject: Annotated[str | None, Query(description="a serial number or an Id")] = None,
    kind: str | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> list[EventView]:
    """What has been done, newest first."""
    if "\0" in (subject or "") + (kind or ""):
        return []
    query = select(Event).order_by(Event.id.desc()).limit(limit)
    if subject is not None:
        query = query.where(Event.subject == subject)
    if kind is not None:
        query = query.where(Event.kind == kind)
    with context.database.reading() as session:
        return [EventView.of(event) for event in session.scalars(query)]


@router.get("/vendors.json")
def vendors(context: Ctx) -> list[VendorView]:
    """Who may make these calls."""
    with context.database.reading() as session:
        return [VendorView.of(vendor) for vendor in session.scalars(select(Vendor).order_by(Vendor.name))]


@router.post("/vendors.json", openapi_extra=accepts(NewVendor))
def create_vendor(context: Ctx, who: Who, new: Annotated[NewVendor, json_body(NewVendor)]) -> VendorCreated:
    """One more who may make these calls. The password is in this answer, and nowhere else."""
    password = new_password()
    with context.database.writing() as session:
        if session.get(Vendor, new.name):
            raise conflict(f"There is a vendor {new.name} already")
        vendor = Vendor(name=new.name, password_hash=hash_password(password))
        session.add(vendor)
        session.flush()
        record(session, who, "vendor added", new.name)
        return VendorCreated(**VendorView.of(vendor).model_dump(), password=password)


@router.put("/vendors/{name}/password.json")
def renew_password(context: Ctx, who: Who, name: str) -> VendorCreated:
    """A new password for a vendor; the old one ends here. It is in this answer, and nowhere else."""
    password = new_password()
    with context.database.writing() as session:
        vendor = _vendor(session, name)
        vendor.password_hash = hash_password(password)
        record(session, who, "password renewed", name)
        return VendorCreated(**VendorView.of(vendor).model_dump(), password=password)


@router.delete("/vendors/{name}.json", status_code=204)
def remove_vendor(context: Ctx, who: Who, name: str) -> None:
    """Take a vendor's access away. 409 for oneself: so there is always one left."""
    with context.database.writing() as session:
        vendor = _vendor(session, name)
        if name == who.vendor:
            raise conflict("Nobody can remove themselves: let another vendor do it")
        session.delete(vendor)
        record(session, who, "vendor removed", name)


def is_serial(text: str) -> bool:
    """True for what can be a serial number, and stands unharmed in a path."""
    return _SERIAL.fullmatch(text) is not None


def require_signed(session: Session, template: Template, version: Version, force: bool) -> None:
    """409 for an unsigned version where the target is a signed one, unless it is meant like that."""
    target = template.target_version_id and session.get(Version, template.target_version_id)
    if target and target.is_signed and not version.is_signed and not force:
        raise conflict(
            f"Version {version.name} is not signed, but the target, version {target.name}, is: devices that trust a key"
            " would download it and refuse it. Sign it, or give force=true"
        )


def add_version(context: Ctx, who: Caller, template_id: str, description: str, upload: Upload) -> VendorVersionView:
    """Make an upload the template's next version. 400 when no device would take it."""
    is_signed = check.firmware(upload.part)
    try:
        with context.database.writing() as session:
            require_template(session, template_id, lock=True)
            newest = session.scalar(select(func.max(Version.number)).where(Version.template_id == template_id))
            version = Version(template_id=template_id, number=(newest or 0) + 1, description=description)
            version.firmware_sha256, version.size_bytes, version.is_signed = upload.sha256, upload.size_bytes, is_signed
            session.add(version)
            session.flush()
            record(session, who, "version created", template_id, f"version {version.name}")
            # Before the commit: a version that is there has its firmware.
            upload.keep()
            return VendorVersionView.of(version)
    except Exception:
        with context.database.reading() as session:
            if not _is_used(session, upload.sha256):
                context.files.remove(upload.sha256)
        raise


def _is_used(session: Session, sha256: str) -> bool:
    return session.scalar(select(Version.id).where(Version.firmware_sha256 == sha256).limit(1)) is not None


def _require_free(session: Session, version: Version) -> None:
    targeted = select(Template.id).where(Template.target_version_id == version.id)
    used = select(Thing.serial).where(
        or_(Thing.current_version_id == version.id, Thing.pinned_version_id == version.id)
    )
    rolled_out = select(Rollout.id).where(Rollout.version_id == version.id)
    if session.scalar(targeted.limit(1)):
        raise conflict(f"Version {version.name} is the target")
    if serial := session.scalar(used.limit(1)):
        raise conflict(f"Version {version.name} is what {serial} runs or is pinned to")
    if session.scalar(rolled_out.limit(1)):
        raise conflict(f"Version {version.name} belongs to a rollout")


def require_template_there(context: Ctx, template_id: str) -> None:
    """404 unless there is this template."""
    with context.database.reading() as session:
        require_template(session, template_id)


def require_template(session: Session, template_id: str, lock: bool = False) -> Template:
    """The template with this Id, or 404."""
    template = session.get(Template, template_id, with_for_update=lock) if is_id(template_id) else None
    if template is None:
        raise not_found(f"There is no template {printable(template_id)}")
    return template


def _product(session: Session, product_id: str) -> Product:
    product = session.get(Product, product_id) if is_id(product_id) else None
    if product is None:
        raise not_found(f"There is no product {printable(product_id)}")
    return product


def _serial(session: Session, serial: str) -> SerialNumber:
    registered = session.get(SerialNumber, serial) if is_serial(serial) else None
    if registered is None:
        raise not_found(f"The serial number {printable(serial[:64])} is not registered")
    return registered


def _vendor(session: Session, name: str) -> Vendor:
    vendor = None if "\0" in name else session.get(Vendor, name)
    if vendor is None:
        raise not_found(f"There is no vendor {printable(name[:64])}")
    return vendor


def _require_unused(session: Session, kind: type[Template] | type[Product], name: str) -> None:
    if session.scalar(select(kind.id).where(kind.name == name)):
        raise conflict(f"There is a {kind.__name__.lower()} {name} already")


def _refuse(what: str, serials: list[str]) -> None:
    """400 when there are any such serial numbers, naming the first of them."""
    if serials:
        named = ", ".join(repr(serial) for serial in serials[:_NAMED_AT_MOST])
        rest = f" and {len(serials) - _NAMED_AT_MOST} more" if len(serials) > _NAMED_AT_MOST else ""
        raise invalid(f"Nothing was added: these serial numbers {what}: {named}{rest}")
