"""Firmware: files named by their SHA-256, streamed in and out in chunks; never held whole."""

import asyncio
import base64
import hashlib
import json
import os
import stat
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from fastapi.responses import Response, StreamingResponse

from .errors import ApiError, invalid

SIZE_MAX_BYTES = 16 * 1024 * 1024
"""The biggest flash an ESP32 addresses."""

CHUNK_BYTES = 96 * 1024
"""Bytes of firmware in memory per download. A multiple of 3: in base64 it is 128 KiB, with no padding inside."""

_STALLED_S = 60  # without a byte, in either direction: the other side is gone
_LEFT_OVER_S = 86_400
_IMMUTABLE = "private, max-age=31536000, immutable"


@dataclass(frozen=True)
class Firmware:
    """A firmware file, as far as its delivery goes: a version's, its name and its description."""

    sha256: str
    size_bytes: int
    name: str
    description: str


class FirmwareFiles:
    """The firmware of all versions: one immutable file each in `folder`, named by its SHA-256."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Uploads that a crash cut off. Younger ones can be another server's, where several share the folder.
        for left_over in folder.glob("*.part"):
            if time.time() - left_over.stat().st_mtime > _LEFT_OVER_S:
                left_over.unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove all uploads that were cut off: for the only server that uses the folder, before it starts."""
        for left_over in self._folder.glob("*.part"):
            left_over.unlink(missing_ok=True)

    def path(self, sha256: str) -> Path:
        """Where the firmware with this hash lies."""
        return self._folder / sha256

    async def take_in(self, chunks: AsyncIterator[bytes]) -> "Upload":
        """Take a firmware that comes in pieces: an upload, to be kept or dropped. 400 when it is empty, 413 when it is
        too big, 408 when it stalls; then, and when it is cut off, nothing stays behind."""
        handle, name = tempfile.mkstemp(suffix=".part", dir=self._folder)
        digest, size_bytes = hashlib.sha256(), 0
        try:
            with open(handle, "wb") as part:
                while True:
                    try:
                        async with asyncio.timeout(_STALLED_S):
                            chunk = await anext(chunks, None)
                    except TimeoutError:
                        raise ApiError(408, "The firmware stopped coming", {"Connection": "close"}) from None
                    if chunk is None:
                        break
                    size_bytes += len(chunk)
                    if size_bytes > SIZE_MAX_BYTES:
                        raise ApiError(413, f"The firmware is bigger than {SIZE_MAX_BYTES} bytes")
                    digest.update(chunk)
                    part.write(chunk)
            if size_bytes == 0:
                raise invalid("The firmware is empty")
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        return Upload(Path(name), self.path(digest.hexdigest()), digest.hexdigest(), size_bytes)

    def remove(self, sha256: str) -> None:
        """Remove a firmware that no version has any more."""
        self.path(sha256).unlink(missing_ok=True)


@dataclass(frozen=True)
class Upload:
    """A firmware that has arrived whole, under a name of its own."""

    part: Path
    path: Path
    sha256: str
    size_bytes: int

    def keep(self) -> None:
        """Give it its name; after that it survives a power cut."""
        with self.part.open("rb") as file:
            os.fsync(file.fileno())
        # Readable by the group where a web server in front is in it (see make_folder).
        group = stat.S_IRGRP & self.path.parent.stat().st_mode
        os.chmod(self.part, stat.S_IRUSR | group)
        os.replace(self.part, self.path)
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def drop(self) -> None:
        """Remove it, unless it was kept."""
        self.part.unlink(missing_ok=True)


@dataclass(frozen=True)
class Representation:
    """The bytes that answer a request for a firmware: a part of a file, with something around it, in base64 or raw."""

    path: Path
    media_type: str
    etag: str
    start: int
    end: int
    before: bytes = b""
    after: bytes = b""
    is_base64: bool = False
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def length_bytes(self) -> int:
        """The length of the whole body."""
        size_bytes = self.end - self.start
        return len(self.before) + (base64_bytes(size_bytes) if self.is_base64 else size_bytes) + len(self.after)


def choose(files: FirmwareFiles, firmware: Firmware, headers: Mapping[str, str], form: str) -> Representation:
    """What a request with these headers gets of a firmware: whole, in the form that it accepts (or in `form` when that
    is not "auto"). Other encodings, such as a difference to what the thing runs, are chosen here."""
    path = files.path(firmware.sha256)
    if not path.exists():
        raise ApiError(500, f"The firmware of version {firmware.name} is missing on the server")
    if form == "auto":
        form = "raw" if _prefers_raw(headers.get("accept", "")) else "string"
    if form == "raw":
        return Representation(path, "application/octet-stream", f'"{firmware.sha256}"', 0, firmware.size_bytes)
    before, after = b'"', b'"'
    if form == "object":
        before = f'{{"version": {json.dumps(firmware.name)}, "firmware": "'.encode()
        after = f'", "note": {json.dumps(firmware.description)}}}'.encode()
    etag = f'"{firmware.sha256}-{form}"'
    return Representation(path, "application/json", etag, 0, firmware.size_bytes, before, after, is_base64=True)


def answer(chosen: Representation, headers: Mapping[str, str], accel_prefix: str | None = None) -> Response:
    """The response with this representation: whole, 206 with the range asked for, or 304. 416 for a range outside of
    it. Where a web server in front sends the files itself, it is told which (`accel_prefix`)."""
    shown = {"ETag": chosen.etag, "Accept-Ranges": "bytes", "Vary": "Accept", "Cache-Control": _IMMUTABLE}
    shown |= chosen.headers
    if any(tag.strip() in (chosen.etag, "*") for tag in headers.get("if-none-match", "").split(",")):
        return Response(None, 304, shown)
    if accel_prefix and not chosen.is_base64:
        accel = {"X-Accel-Redirect": accel_prefix + chosen.path.name, "Content-Type": chosen.media_type}
        return Response(None, chosen.status, shown | accel)
    status, start, end = chosen.status, 0, chosen.length_bytes
    wanted = headers.get("range")
    # If-Range: only a range of the very firmware that the client has begun is of use to it.
    if wanted and headers.get("if-range", chosen.etag) == chosen.etag:
        span = _parse_range(wanted, chosen.length_bytes)
        if span is not None:
            status, (start, end) = 206, span
            if start >= end:
                message = f"The range lies outside of the {chosen.length_bytes} bytes of the firmware"
                raise ApiError(416, message, {"Content-Range": f"bytes */{chosen.length_bytes}"})
            shown["Content-Range"] = f"bytes {start}-{end - 1}/{chosen.length_bytes}"
    shown["Content-Length"] = str(end - start)
    return FirmwareResponse(_part(chosen, start, end), status, shown, chosen.media_type)


class FirmwareResponse(StreamingResponse):
    """A streamed body. A client that takes no byte for a minute is hung up on."""

    async def __call__(self, scope, receive, send) -> None:
        async def send_in_time(message) -> None:
            async with asyncio.timeout(_STALLED_S):
                await send(message)

        try:
            await super().__call__(scope, receive, send_in_time)
        except TimeoutError:
            # The server closes a connection whose answer was not completed.
            raise ConnectionAbortedError("a client has stopped reading its firmware") from None


def base64_bytes(size_bytes: int) -> int:
    """The length of so many bytes in base64."""
    return (size_bytes + 2) // 3 * 4


async def _part(chosen: Representation, start: int, end: int) -> AsyncIterator[bytes]:
    """The bytes of the body from `start` up to and without `end`, in chunks."""
    at = 0
    for piece in _pieces(chosen):
        low, high = max(start - at, 0), min(end - at, piece.length_bytes)
        if low < high:
            content = piece.content()
            yield content if high - low == len(content) else content[low:high]
        at += piece.length_bytes
        if at >= end:
            return


@dataclass(frozen=True)
class _Text:
    text: bytes

    @property
    def length_bytes(self) -> int:
        return len(self.text)

    def content(self) -> bytes:
        return self.text


@dataclass(frozen=True)
class _Chunk:
    """A chunk of the file. One that lies before the range asked for is never read."""

    file: BinaryIO
    at: int
    size_bytes: int
    is_base64: bool

    @property
    def length_bytes(self) -> int:
        return base64_bytes(self.size_bytes) if self.is_base64 else self.size_bytes

    def content(self) -> bytes:
        self.file.seek(self.at)
        data = self.file.read(self.size_bytes)
        if len(data) != self.size_bytes:
            raise OSError(f"{self.file.name} is shorter than when it was stored")
        return base64.b64encode(data) if self.is_base64 else data


def _pieces(chosen: Representation) -> Iterator[_Text | _Chunk]:
    yield _Text(chosen.before)
    with chosen.path.open("rb") as file:
        for at in range(chosen.start, chosen.end, CHUNK_BYTES):
            yield _Chunk(file, at, min(CHUNK_BYTES, chosen.end - at), chosen.is_base64)
    yield _Text(chosen.after)


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
