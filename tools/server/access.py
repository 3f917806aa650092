"""Who calls, what they may touch, and how much they may send."""

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Request
from pydantic import TypeAdapter, ValidationError
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.requests import ClientDisconnect

from .errors import ApiError, describe, invalid, not_found, unauthenticated
from .firmware import FirmwareFiles
from .model import Database, Thing, Version

VENDOR = "vendor"
"""The vendor's user name for HTTP Basic authentication."""

_BODY_MAX_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True)
class Context:
    """What the routes work on."""

    database: Database
    firmware_files: FirmwareFiles
    firmware_form: str
    password: str

    @classmethod
    async def of(cls, request: Request) -> "Context":
        """The context of the application that got the request."""
        return request.app.state.context


Ctx = Annotated[Context, Depends(Context.of)]


@dataclass(frozen=True)
class Caller:
    """The credentials of a request; nothing is decided yet about what they are good for."""

    is_vendor: bool
    api_key: str | None

    @classmethod
    async def of(cls, request: Request, context: Ctx) -> "Caller":
        """The credentials that came with the request. 401 when HTTP Basic credentials are wrong."""
        api_key = request.headers.get("x-apikey") or request.query_params.get("ApiKey")
        if api_key:
            return cls(False, api_key)
        if "authorization" not in request.headers:
            return cls(False, None)
        if not _is_vendor(request.headers["authorization"], context.password):
            raise unauthenticated("The user name or the password is wrong")
        return cls(True, None)

    def require_vendor(self) -> None:
        """401 unless the vendor calls."""
        if not self.is_vendor:
            raise unauthenticated("This call is the vendor's: HTTP Basic authentication is required")

    def require_thing(self, session: Session, thing_id: str) -> Thing:
        """The thing that the path names. 401 without a good key, 403 with another thing's, 404 for the vendor when
        there is no such thing. Checked in the session of the call, so that a key dropped meanwhile does nothing."""
        if self.is_vendor:
            thing = session.get(Thing, thing_id)
            if thing is None:
                raise not_found(f"There is no thing {thing_id}")
            return thing
        if self.api_key is None:
            raise unauthenticated("An API key is required: send it in the header X-ApiKey")
        thing = session.scalar(select(Thing).where(Thing.api_key_sha256 == sha256_hex(self.api_key)))
        if thing is None:
            raise unauthenticated("The API key is not valid, or not any more")
        if thing.id != thing_id:
            raise ApiError(403, "The API key is good for another thing")
        return thing


Who = Annotated[Caller, Depends(Caller.of)]


def version_of(session: Session, template_id: str, version_id: str) -> Version:
    """The template's version with this Id; 404 when it has none."""
    version = session.get(Version, version_id)
    if version is None or version.template_id != template_id:
        raise not_found(f"There is no version {version_id}")
    return version


async def vendor_only(who: Who) -> None:
    """Dependency of the vendor's routes: 401 for everybody else, before the body is read."""
    who.require_vendor()


def json_body(kind: Any):
    """A dependency that reads the body as JSON of this type, whatever its Content-Type; 400 when it is not, or is too
    big."""
    adapter = TypeAdapter(kind)

    async def read(request: Request) -> Any:
        body = bytearray()
        try:
            async for chunk in request.stream():
                body += chunk
                if len(body) > _BODY_MAX_BYTES:
                    raise invalid(f"The body is bigger than {_BODY_MAX_BYTES} bytes")
        except ClientDisconnect:
            raise invalid("The body ended early") from None
        try:
            return adapter.validate_json(body)
        except ValidationError as error:
            raise invalid(describe(error.errors())) from None

    return Depends(read)


def sha256_hex(text: str) -> str:
    """SHA-256 of a text, in hex: how keys are stored."""
    return hashlib.sha256(text.encode()).hexdigest()


def _is_vendor(authorization: str, password: str) -> bool:
    scheme, _, credentials = authorization.partition(" ")
    if scheme.lower() != "basic":
        return False
    try:
        given = base64.b64decode(credentials.strip(), validate=True)
    except binascii.Error:
        return False
    return hmac.compare_digest(given, f"{VENDOR}:{password}".encode())
