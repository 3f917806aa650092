"""The calls of the vendor: products and serial numbers, templates and versions, targets and pins, lists."""

import re
from collections import Counter
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, StringConstraints
from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload, selectinload
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from .access import Ctx, json_body, vendor_only, version_of
from .errors import invalid, not_found
from .model import Product, SerialNumber, Template, Thing, Version

_SERIAL = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}")
_NAMED_AT_MOST = 10
_QUERY_BATCH = 500

Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
Description = Annotated[str, StringConstraints(max_length=2000)]

router = APIRouter(prefix="/v1", dependencies=[Depends(vendor_only)])


class NewTemplate(BaseModel):
    name: Name
    description: Description = ""


class NewProduct(BaseModel):
    name: Name
    templateId: str
    description: Description = ""


class NewSerials(BaseModel):
    serialNumbers: list[str]


@router.post("/templates.json")
def create_template(context: Ctx, new: Annotated[NewTemplate, json_body(NewTemplate)]) -> dict:
    """A new template; its name must be new as well."""
    with context.database.writing() as session:
        _require_unused(session, Template, new.name)
        template = Template(name=new.name, description=new.description)
        session.add(template)
        session.flush()
        return template.view()


@router.get("/templates.json")
def templates(context: Ctx) -> list[dict]:
    """All templates by name, each with its target version."""
    with context.database.reading() as session:
        return [template.view() for template in session.scalars(select(Template).order_by(Template.name))]


@router.post("/products.json")
def create_product(context: Ctx, new: Annotated[NewProduct, json_body(NewProduct)]) -> dict:
    """A new product; its name must be new as well."""
    with context.database.writing() as session:
        _require_unused(session, Product, new.name)
        template_id = _template(session, new.templateId).id
        product = Product(name=new.name, description=new.description, template_id=template_id)
        session.add(product)
        session.flush()
        return product.view()


@router.get("/products.json")
def products(context: Ctx) -> list[dict]:
    """All products by name."""
    with context.database.reading() as session:
        return [product.view() for product in session.scalars(select(Product).order_by(Product.name))]


@router.post("/products/{product_id}/serials.json")
def add_serials(context: Ctx, product_id: str, new: Annotated[NewSerials, json_body(NewSerials)]) -> dict:
    """Register serial numbers: all of them, or none and a 400 that names the bad ones."""
    serials = new.serialNumbers
    if not serials:
        raise invalid("No serial number is given")
    _refuse("are not 1 to 64 of A-Z a-z 0-9 . _ - (not starting with .)", [s for s in serials if not is_serial(s)])
    _refuse("are given more than once", [serial for serial, times in Counter(serials).items() if times > 1])
    with context.database.writing() as session:
        if session.get(Product, product_id) is None:
            raise not_found(f"There is no product {product_id}")
        known: list[str] = []
        for start in range(0, len(serials), _QUERY_BATCH):
            batch = serials[start : start + _QUERY_BATCH]
            known += session.scalars(select(SerialNumber.serial).where(SerialNumber.serial.in_(batch)))
        _refuse("are registered already", known)
        session.add_all(SerialNumber(serial=serial, product_id=product_id) for serial in serials)
    return {"added": len(serials)}


@router.get("/products/{product_id}/serials.json")
def serials(context: Ctx, product_id: str) -> list[str]:
    """The serial numbers registered under a product, in order."""
    with context.database.reading() as session:
        if session.get(Product, product_id) is None:
            raise not_found(f"There is no product {product_id}")
        of_product = select(SerialNumber.serial).where(SerialNumber.product_id == product_id)
        return list(session.scalars(of_product.order_by(SerialNumber.serial)))


@router.post("/templates/{template_id}/versions.json")
async def create_version(
    request: Request, context: Ctx, template_id: str, description: Annotated[str, Query(max_length=2000)] = ""
) -> dict:
    """A new version of the template. The body is its firmware, raw, straight to disk; the name is the next number."""
    await run_in_threadpool(_require_template, context, template_id)
    try:
        sha256, size_bytes = await context.firmware_files.take_in(request.stream())
    except ClientDisconnect:
        raise invalid("The firmware ended early") from None
    return await run_in_threadpool(_add_version, context, template_id, description, sha256, size_bytes)


@router.get("/templates/{template_id}/versions.json")
def versions(context: Ctx, template_id: str) -> list[dict]:
    """The versions of a template, oldest first."""
    with context.database.reading() as session:
        template = _template(session, template_id)
        of_template = select(Version).where(Version.template_id == template.id).order_by(Version.number)
        return [version.vendor_view() for version in session.scalars(of_template)]


@router.put("/templates/{template_id}/target/{version_id}.json", status_code=204)
def set_target(context: Ctx, template_id: str, version_id: str) -> None:
    """From now on the template's things should run this version, except those with a pin."""
    with context.database.writing() as session:
        template = _template(session, template_id)
        template.target_version_id = version_of(session, template.id, version_id).id


@router.get("/things.json")
def things(context: Ctx, serialNumber: str | None = None) -> list[dict]:
    """All things by serial number, or the one with this serial number."""
    query = select(Thing).order_by(Thing.serial)
    if serialNumber is not None:
        query = query.where(Thing.serial == serialNumber)
    parts = (
        joinedload(Thing.template).joinedload(Template.target_version),
        joinedload(Thing.current_version),
        joinedload(Thing.pinned_version),
        selectinload(Thing.properties),
    )
    with context.database.reading() as session:
        return [thing.view() for thing in session.scalars(query.options(*parts))]


@router.put("/things/{thing_id}/pin/{version_id}.json", status_code=204)
def pin(context: Ctx, thing_id: str, version_id: str) -> None:
    """From now on this thing should run this version, whatever its template's target is."""
    with context.database.writing() as session:
        thing = _thing(session, thing_id)
        thing.pinned_version_id = version_of(session, thing.template_id, version_id).id


@router.delete("/things/{thing_id}/pin.json", status_code=204)
def unpin(context: Ctx, thing_id: str) -> None:
    """The thing follows its template's target again."""
    with context.database.writing() as session:
        _thing(session, thing_id).pinned_version_id = None


@router.delete("/things/{thing_id}.json", status_code=204)
def delete_thing(context: Ctx, thing_id: str) -> None:
    """The thing is no more, nor is its key. Its serial number stays registered: activated again, it makes a new one."""
    with context.database.writing() as session:
        session.delete(_thing(session, thing_id))


def is_serial(text: str) -> bool:
    """True for what can be a serial number, and stands unharmed in a path."""
    return _SERIAL.fullmatch(text) is not None


def _add_version(context: Ctx, template_id: str, description: str, sha256: str, size_bytes: int) -> dict:
    with context.database.writing() as session:
        newest = select(Version.number).where(Version.template_id == template_id).order_by(Version.number.desc())
        number = (session.scalar(newest.limit(1)) or 0) + 1
        version = Version(template_id=template_id, number=number, description=description)
        version.firmware_sha256, version.size_bytes = sha256, size_bytes
        session.add(version)
        session.flush()
        return version.vendor_view()


def _require_template(context: Ctx, template_id: str) -> None:
    with context.database.reading() as session:
        _template(session, template_id)


def _template(session: Session, template_id: str) -> Template:
    template = session.get(Template, template_id)
    if template is None:
        raise not_found(f"There is no template {template_id}")
    return template


def _thing(session: Session, thing_id: str) -> Thing:
    thing = session.get(Thing, thing_id)
    if thing is None:
        raise not_found(f"There is no thing {thing_id}")
    return thing


def _require_unused(session: Session, kind: type[Template] | type[Product], name: str) -> None:
    if session.scalar(select(kind.id).where(kind.name == name)):
        raise invalid(f"There is a {kind.__name__.lower()} {name} already")


def _refuse(what: str, serials: list[str]) -> None:
    """400 when there are any such serial numbers, naming the first of them."""
    if serials:
        named = ", ".join(repr(serial) for serial in serials[:_NAMED_AT_MOST])
        rest = f" and {len(serials) - _NAMED_AT_MOST} more" if len(serials) > _NAMED_AT_MOST else ""
        raise invalid(f"Nothing was added: these serial numbers {what}: {named}{rest}")
