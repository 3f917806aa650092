"""Activation: a serial number, and the secret of the board that has it, become a thing with a new API key."""

import hmac
import logging
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, insert, select, update

from .access import Caller, Context, record
from .errors import ApiError, forbidden, not_found, printable, too_many
from .model import Product, SerialNumber, Template, Thing, bucket_of, new_id, now_s, sha256_hex

log = logging.getLogger("gadgetkeeper")

_FOUND = (
    select(
        SerialNumber.secret_sha256,
        SerialNumber.is_blocked,
        Product.requires_device_secret,
        Product.template_id,
        Thing.id,
        Thing.api_key_sha256,
    )
    .join(Product, Product.id == SerialNumber.product_id)
    .outerjoin(Thing, Thing.serial == SerialNumber.serial)
    .where(SerialNumber.serial == bindparam("serial"))
)
_LOCKED = _FOUND.with_for_update(of=SerialNumber)
_NAME = (
    update(Template)
    .where(Template.id == bindparam("template"))
    .values(things_named=Template.things_named + 1)
    .returning(Template.name, Template.things_named)
)
_THINGS: Any = Thing.__table__
_NEW_KEY = update(_THINGS).where(_THINGS.c.id == bindparam("thing"))


@dataclass(frozen=True)
class Activated:
    """The thing of an activated serial number, and its new key."""

    thing_id: str
    api_key: str


async def activate(context: Context, who: Caller, serial: str, secret: str | None) -> Activated:
    """A new API key for the serial number's thing, which is created when there is none. The old key ends here. 404, 403
    or 429 when it must not be; each is told in the log."""
    try:
        return await _activate(context, who, serial, secret)
    except ApiError as error:
        log.warning("refused: activation of %s from %s: %s", printable(serial[:64]), who.address, error.message)
        raise


async def _activate(context: Context, who: Caller, serial: str, secret: str | None) -> Activated:
    # First without the lock that writing takes: who may not activate shall not hold up those who may.
    found = await context.database.read(lambda connection: _find(connection, serial))
    is_first = found is not None and found.id is None
    wait_s = context.activations_by_serial.take(serial) if found else 0
    if not wait_s and not (found and found.secret_sha256 and _fits(found, secret)):
        # Nothing proves that it is the board: an address may try only so many serial numbers.
        wait_s = (context.first_activations if is_first else context.other_activations).take(who.address)
    if wait_s:
        raise too_many(f"Too many activations: try again in {wait_s} s", wait_s)
    _check(found, serial, secret)
    api_key = new_id()
    thing_id = await context.database.write(lambda connection: _new_key(connection, who, serial, secret, api_key))
    return Activated(thing_id, api_key)


def _find(connection: Connection, serial: str):
    return connection.execute(_FOUND, {"serial": serial}).first() if serial.isascii() and "\0" not in serial else None


def _check(found, serial: str, secret: str | None) -> None:
    if found is None:
        raise not_found(f"The serial number {printable(serial[:64])} is not registered")
    if found.is_blocked:
        raise forbidden("The serial number is blocked")
    if found.secret_sha256 and not _fits(found, secret):
        raise forbidden("The device secret is missing" if secret is None else "The device secret is wrong")
    if found.requires_device_secret and not found.secret_sha256:
        raise forbidden("The product requires device secrets, and none is registered for this serial number")


def _fits(found, secret: str | None) -> bool:
    return secret is not None and hmac.compare_digest(sha256_hex(secret), found.secret_sha256)


def _new_key(connection: Connection, who: Caller, serial: str, secret: str | None, api_key: str) -> str:
    found: Any = connection.execute(_LOCKED, {"serial": serial}).first()
    _check(found, serial, secret)
    key_sha256 = sha256_hex(api_key)
    if found.id is not None:
        if found.api_key_sha256 is not None:
            record(connection, who, "key dropped", serial, "activated again: the key from before is no longer valid")
        connection.execute(_NEW_KEY.values(api_key_sha256=key_sha256, last_seen_at=now_s()), {"thing": found.id})
        return found.id
    name, number = connection.execute(_NAME, {"template": found.template_id}).one()
    thing = {
        "id": new_id(),
        "serial": serial,
        "template_id": found.template_id,
        "name": f"{name} {number}"[:200],
        "api_key_sha256": key_sha256,
        "bucket": bucket_of(serial),
        "last_seen_at": now_s(),
    }
    connection.execute(insert(_THINGS), thing)
    return thing["id"]
