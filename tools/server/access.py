"""Who calls, what they may touch, and how much they may send."""

import asyncio
import base64
import logging
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Request
from pydantic import TypeAdapter, ValidationError
from sqlalchemy import Connection, bindparam, insert, select
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from .database import Database
from .errors import ApiError, describe, forbidden, invalid, not_found, printable, too_many, unauthenticated
from .firmware import FirmwareFiles
from .limits import Limit, network_of
from .model import Event, Thing, Vendor, Version, sha256_hex
from .passwords import Remembered, hash_of_none, is_password
from .patches import Patches
from .seen import Seen
from .settings import Settings

_SMALL_BYTES = 64 * 1024
_SMALL_TIMEOUT_S = 10
_BIG_TIMEOUT_S = 120
_WRONG_PASSWORD_WAIT_S = 0.5
_WRONG_BURST, _WRONG_PER_S = 20, 1 / 5
_SCRYPT_AT_ONCE = 2
_ID_CHARS = 32

log = logging.getLogger("gadgetkeeper")


class Context:
    """What the routes work on."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self.settings = settings
        self.database = database
        self.files = FirmwareFiles(settings.firmware_folder)
        self.patches = Patches(settings.patch_folder, self.files)
        self.passwords = Passwords(database)
        self.seen = Seen(database)
        self.activations_by_serial = Limit(settings.serial_burst, settings.serial_per_s)
        self.first_activations = Limit(settings.first_burst, settings.first_per_s)
        self.other_activations = Limit(settings.again_burst, settings.again_per_s)

    @classmethod
    async def of(cls, request: Request) -> "Context":
        """The context of the application that got the request."""
        return request.app.state.context


Ctx = Annotated[Context, Depends(Context.of)]


class Passwords:
    """Says whose password it is; slow for who guesses."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._remembered = Remembered()
        self._wrong = Limit(_WRONG_BURST, _WRONG_PER_S)
        self._guesses = asyncio.Semaphore(_SCRYPT_AT_ONCE)
        self._nobodys = hash_of_none()  # an unknown name takes as long as a known one

    async def vendor_of(self, authorization: str, address: str) -> str:
        """The name of the vendor whose Basic credentials these are. 401 when they are nobody's; 429 when too many from
        this address were wrong."""
        scheme, _, credentials = authorization.partition(" ")
        if scheme.lower() != "basic":
            raise unauthenticated("HTTP Basic authentication is required")
        try:
            name_bytes, colon, password = base64.b64decode(credentials.strip(), validate=True).partition(b":")
            name = name_bytes.decode()
        except ValueError:
            raise unauthenticated("The HTTP Basic credentials cannot be read") from None
        if not colon or "\0" in name:
            raise unauthenticated("The HTTP Basic credentials cannot be read")
        query = select(Vendor.password_hash).where(Vendor.name == name)
        kept = await self._database.read(lambda connection: connection.scalar(query))
        if kept and self._remembered.knows(password, kept):
            return name
        wait_s = self._wrong.wait_s(network_of(address))
        if wait_s:
            raise too_many("Too many wrong passwords from this address", wait_s)
        async with self._guesses:
            is_right = await run_in_threadpool(is_password, password, kept or self._nobodys)
        if kept and is_right:
            self._remembered.add(password, kept)
            return name
        self._wrong.take(network_of(address))
        log.warning("refused: wrong password of vendor %s, from %s", printable(name[:64]), address)
        await asyncio.sleep(_WRONG_PASSWORD_WAIT_S)
        raise unauthenticated("The user name or the password is wrong")


@dataclass(frozen=True)
class Caller:
    """Who sent a request: a vendor, by name, or whoever has a key; nothing is decided yet about what the key opens."""

    vendor: str | None
    key_sha256: str | None
    address: str

    @classmethod
    async def of(cls, request: Request, context: Ctx) -> "Caller":
        """Who sent the request. 401 when HTTP Basic credentials are wrong."""
        address = request.client.host if request.client else ""
        api_key = request.headers.get("x-apikey") or request.query_params.get("ApiKey")
        if api_key:
            return cls(None, sha256_hex(api_key), address)
        authorization = request.headers.get("authorization")
        if authorization is None:
            return cls(None, None, address)
        return cls(await context.passwords.vendor_of(authorization, address), None, address)

    @property
    def name(self) -> str:
        """Who it is, for the record of events."""
        return self.vendor or "thing"

    def require_vendor(self) -> str:
        """The vendor's name; 401 unless a vendor calls."""
        if self.vendor is None:
            raise unauthenticated("This call is the vendor's: HTTP Basic authentication is required")
        return self.vendor

    def check_thing(self, connection: Connection | Session, thing_id: str) -> None:
        """401 without a good key, 403 with another thing's, 404 for the vendor when there is no such thing. Asked in
        the transaction of the call, so that a key dropped meanwhile does nothing."""
        if self.vendor is not None:
            if not is_id(thing_id) or connection.execute(_BY_ID, {"id": thing_id}).first() is None:
                raise not_found(f"There is no thing {printable(thing_id)}")
            return
        self.require_owner(connection.execute(_BY_KEY, {"key": self.key_sha256}).first(), thing_id)

    def require_owner(self, found: Any, thing_id: str) -> Any:
        """`found`, what the database has for the key, Id first; 401 or 403 unless that is the thing in the path."""
        if self.key_sha256 is None:
            raise unauthenticated("An API key is required: send it in the header X-ApiKey")
        if found is None:
            raise unauthenticated("The API key is not valid, or not any more")
        if found[0] != thing_id:
            raise forbidden("The API key is good for another thing")
        return found

    def require_thing(self, session: Session, thing_id: str) -> Thing:
        """The thing that the path names, once `check_thing` has found nothing against it."""
        self.check_thing(session, thing_id)
        return session.get_one(Thing, thing_id)


Who = Annotated[Caller, Depends(Caller.of)]

_BY_ID = select(Thing.id).where(Thing.id == bindparam("id"))
_BY_KEY = select(Thing.id).where(Thing.api_key_sha256 == bindparam("key"))


async def vendor_only(who: Who) -> None:
    """Dependency of the vendor's routes: 401 for everybody else, before the body is read."""
    who.require_vendor()


async def of_thing(context: Ctx, who: Who, thing_id: str) -> str:
    """The Id in the path, when the caller may touch that thing; before the body is read."""
    await context.database.read(lambda connection: who.check_thing(connection, thing_id))
    if who.vendor is None:
        context.seen.mark(thing_id)
    return thing_id


ThingId = Annotated[str, Depends(of_thing)]


def version_of(session: Session, template_id: str, version_id: str) -> Version:
    """The template's version with this Id; 404 when it has none."""
    version = session.get(Version, version_id) if is_id(version_id) else None
    if version is None or version.template_id != template_id:
        raise not_found(f"There is no version {printable(version_id)}")
    return version


def record(session: Session | Connection, who: Caller, kind: str, subject: str, text: str = "") -> None:
    """Keep what somebody has done."""
    values = {"actor": who.name, "address": who.address, "kind": kind, "subject": subject, "text": text}
    session.execute(insert(Event), values)


def is_id(text: str) -> bool:
    """True for what can be an Id. Anything else is not even asked for: not every database takes every character."""
    return len(text) == _ID_CHARS and text.isascii() and text.isalnum()


def json_body(kind: Any, size_max_bytes: int = _SMALL_BYTES) -> Any:
    """A dependency that reads the body as JSON of this type, whatever its Content-Type. 400 when it is not, 413 when it
    is too big, 408 when it takes too long."""
    adapter = TypeAdapter(kind)

    async def read(request: Request) -> Any:
        timeout_s = _SMALL_TIMEOUT_S if size_max_bytes <= _SMALL_BYTES else _BIG_TIMEOUT_S
        body = await read_body(request, size_max_bytes, timeout_s)
        try:
            return adapter.validate_json(body)
        except ValidationError as error:
            raise invalid(describe(error.errors())) from None

    return Depends(read)


def accepts(kind: Any) -> dict:
    """What the OpenAPI page shows of a body that `json_body` reads."""
    schema = TypeAdapter(kind).json_schema()
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


async def read_body(request: Request, size_max_bytes: int, timeout_s: float) -> bytes:
    """The whole body. 413, 408, or 400 when it ends early."""
    too_big = ApiError(413, f"The body is bigger than {size_max_bytes} bytes")
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced[:12]) > size_max_bytes:
        raise too_big
    body = bytearray()
    try:
        async with asyncio.timeout(timeout_s):
            async for chunk in request.stream():
                body += chunk
                if len(body) > size_max_bytes:
                    raise too_big
    except ClientDisconnect:
        raise invalid("The body ended early") from None
    except TimeoutError:
        raise ApiError(408, f"The body took longer than {timeout_s} s", {"Connection": "close"}) from None
    return bytes(body)
