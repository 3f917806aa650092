"""What a form sends, believed only when it comes from one of our own pages: a browser that knows the password sends it
with whatever another site makes it send."""

import hashlib
import hmac
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

from fastapi import Request
from python_multipart.exceptions import FormParserError
from sqlalchemy import select
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from ..access import Context
from ..errors import ApiError, forbidden, invalid
from ..firmware import SIZE_MAX_BYTES
from ..model import Vendor, now_s

TOKEN = "token"
"""The hidden field of every form."""

_DAY_S = 86_400
_SMALL_BYTES = 64 * 1024
_CHUNK_BYTES = 64 * 1024
_FIELDS_MAX = 20


async def token_for(context: Context, vendor: str) -> str:
    """What a form of this vendor must send back today, or tomorrow."""
    return _token(await _secret(context, vendor), now_s() // _DAY_S)


async def read(request: Request, context: Context, vendor: str) -> FormData:
    """The fields of a form that one of our pages has sent for this vendor. 403 when another site has sent it, or when
    the page is too old; 411, 413 or 400 when it cannot be taken."""
    _require_own_site(request)
    is_upload = request.headers.get("content-type", "").startswith("multipart/form-data")
    size_max_bytes = _SMALL_BYTES + (SIZE_MAX_BYTES if is_upload else 0)
    length = request.headers.get("content-length", "")
    if not length.isdigit():
        raise ApiError(411, "The form comes without its length")
    if int(length[:12]) > size_max_bytes:
        raise ApiError(413, f"The form is bigger than {size_max_bytes} bytes: no device has room for such a firmware")
    try:
        form = await request.form(max_files=1, max_fields=_FIELDS_MAX, max_part_size=_SMALL_BYTES)
    except ClientDisconnect:
        raise invalid("The form ended early") from None
    except (FormParserError, HTTPException):
        raise invalid("The form cannot be read") from None
    secret, today = await _secret(context, vendor), now_s() // _DAY_S
    given = text(form, TOKEN).encode()
    if not any(hmac.compare_digest(given, _token(secret, day).encode()) for day in (today, today - 1)):
        raise forbidden("This page is too old, or was another vendor's: go back, reload it, and send the form again")
    return form


def text(form: FormData, name: str) -> str:
    """A field's text; "" when there is none."""
    value = form.get(name)
    return value.strip() if isinstance(value, str) else ""


async def chunks(form: FormData, name: str) -> AsyncIterator[bytes]:
    """A field's file, piece by piece. 400 when no file was chosen."""
    file = form.get(name)
    if not isinstance(file, UploadFile) or not file.filename:
        raise invalid("No firmware file was chosen")
    while chunk := await file.read(_CHUNK_BYTES):
        yield chunk


def _require_own_site(request: Request) -> None:
    site = request.headers.get("sec-fetch-site")
    if site is not None:  # browsers tell it over https and to this machine; no page can forge it
        is_own = site == "same-origin"
    else:
        origin = request.headers.get("origin", "")
        is_own = origin.startswith(("http://", "https://")) and urlsplit(origin).netloc == request.headers.get("host")
    if not is_own:
        raise forbidden("This form was not sent by a page of this server: nothing was done")


async def _secret(context: Context, vendor: str) -> bytes:
    """Known to the server alone, the same in all its processes, another one with each new password."""
    query = select(Vendor.password_hash).where(Vendor.name == vendor)
    kept = await context.database.read(lambda connection: connection.scalar(query))
    return hashlib.sha256(f"console {vendor} {kept}".encode()).digest()


def _token(secret: bytes, day: int) -> str:
    return hmac.new(secret, str(day).encode(), "sha256").hexdigest()
