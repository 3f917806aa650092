"""Firmware: files named by their SHA-256, streamed in and out in chunks; never held whole."""

import base64
import hashlib
import json
import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from fastapi import Request
from fastapi.responses import Response, StreamingResponse

from .errors import ApiError, invalid
from .model import Version

FORMS = ("auto", "string", "object", "raw")
"""How firmware goes out: as the client's Accept asks, or always one of the three bodies."""

SIZE_MAX_BYTES = 16 * 1024 * 1024
"""The biggest flash an ESP32 addresses."""

CHUNK_BYTES = 48 * 1024
"""Bytes of firmware in memory per download. A multiple of 3: in base64 it is 64 KiB, with no padding inside."""


class FirmwareFiles:
    """The firmware of all versions: one immutable file each in `folder`, named by its SHA-256."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        for left_over in folder.glob("*.part"):  # an upload that a crash cut off
            left_over.unlink()

    def path(self, sha256: str) -> Path:
        """Where the firmware with this hash lies."""
        return self._folder / sha256

    async def take_in(self, chunks: AsyncIterator[bytes]) -> tuple[str, int]:
        """Store a firmware that comes in pieces; SHA-256 in hex and size in bytes. 400 when it is empty or too big;
        then, and when it is cut off, nothing stays behind."""
        handle, name = tempfile.mkstemp(suffix=".part", dir=self._folder)
        digest, size_bytes = hashlib.sha256(), 0
        try:
            with open(handle, "wb") as part:
                async for chunk in chunks:
                    size_bytes += len(chunk)
                    if size_bytes > SIZE_MAX_BYTES:
                        raise invalid(f"The firmware is bigger than {SIZE_MAX_BYTES} bytes")
                    digest.update(chunk)
                    part.write(chunk)
                if size_bytes == 0:
                    raise invalid("The firmware is empty")
                part.flush()
                os.fsync(part.fileno())
            os.chmod(name, 0o444)
            os.replace(name, self.path(digest.hexdigest()))
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        return digest.hexdigest(), size_bytes

    def chunks(self, sha256: str, start: int, end: int) -> Iterator[bytes]:
        """The bytes from `start` up to and without `end`, in pieces of at most CHUNK_BYTES."""
        with self.path(sha256).open("rb") as file:
            file.seek(start)
            while start < end:
                chunk = file.read(min(CHUNK_BYTES, end - start))
                if not chunk:
                    raise OSError(f"{self.path(sha256)} is shorter than when it was stored")
                start += len(chunk)
                yield chunk


def answer(request: Request, files: FirmwareFiles, version: Version, form: str) -> Response:
    """The firmware of a version, in the form that the request accepts, or in `form` when that is not "auto".
    416 for a range outside of it, 500 when its file is gone."""
    path = files.path(version.firmware_sha256)
    if not path.exists():
        raise ApiError(500, f"The firmware of version {version.name} is missing on the server")
    if form == "auto":
        form = "raw" if _prefers_raw(request.headers.get("accept", "")) else "string"
    if form == "raw":
        return _raw(request, files, version)
    head, tail = '"', '"'
    if form == "object":
        head = f'{{"version": {json.dumps(version.name)}, "firmware": "'
        tail = f'", "note": {json.dumps(version.description)}}}'
    length_bytes = len(head) + (version.size_bytes + 2) // 3 * 4 + len(tail)
    headers = {"Content-Length": str(length_bytes), "Vary": "Accept"}
    body = _base64(files.chunks(version.firmware_sha256, 0, version.size_bytes), head, tail)
    return StreamingResponse(body, 200, headers, "application/json")


def _base64(chunks: Iterator[bytes], head: str, tail: str) -> Iterator[bytes]:
    yield head.encode()
    for chunk in chunks:
        yield base64.b64encode(chunk)
    yield tail.encode()


def _raw(request: Request, files: FirmwareFiles, version: Version) -> Response:
    size_bytes = version.size_bytes
    etag = f'"{version.firmware_sha256}"'
    headers = {"ETag": etag, "Accept-Ranges": "bytes", "Vary": "Accept"}
    status, start, end = 200, 0, size_bytes
    wanted = request.headers.get("range")
    # If-Range: only a range of the very firmware that the client has begun is of use to it.
    if wanted and request.headers.get("if-range", etag) == etag:
        span = _parse_range(wanted, size_bytes)
        if span is not None:
            status, (start, end) = 206, span
            if start >= end:
                message = f"{wanted} lies outside of the {size_bytes} bytes of the firmware"
                raise ApiError(416, message, {"Content-Range": f"bytes */{size_bytes}"})
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{size_bytes}"
    headers["Content-Length"] = str(end - start)
    body = files.chunks(version.firmware_sha256, start, end)
    return StreamingResponse(body, status, headers, "application/octet-stream")


def _parse_range(header: str, size_bytes: int) -> tuple[int, int] | None:
    """Start and end (exclusive; not above start: unsatisfiable) of a single byte range. None for anything else,
    which RFC 9110 lets a server ignore."""
    unit, _, spec = header.partition("=")
    first, dash, last = spec.strip().partition("-")
    if unit.strip().lower() != "bytes" or not dash or any(part and not _is_number(part) for part in (first, last)):
        return None
    if first and last and int(last) < int(first):
        return None
    if first:
        return int(first), min(int(last) + 1, size_bytes) if last else size_bytes
    if last:
        return max(size_bytes - int(last), 0), size_bytes
    return None


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 18


def _prefers_raw(accept: str) -> bool:
    """True when octet-stream is wanted more than JSON. JSON, the documented form, wins a tie, unless the client names
    octet-stream and takes JSON only by a wildcard."""
    qualities = {}
    for entry in accept.split(","):
        kind, *parameters = (part.strip().lower() for part in entry.split(";"))
        quality = 1.0
        for parameter in parameters:
            name, _, value = parameter.partition("=")
            if name.strip() == "q":
                try:
                    quality = float(value)
                except ValueError:
                    quality = 0.0
        qualities[kind] = quality
    anything = qualities.get("application/*", qualities.get("*/*", 0.0))
    raw = qualities.get("application/octet-stream", anything)
    as_json = qualities.get("application/json", anything)
    named_alone = "application/octet-stream" in qualities and "application/json" not in qualities
    return raw > as_json or (named_alone and raw == as_json and raw > 0)
