"""The head of an HTTP response: status line and header fields, and how its body is framed."""

from micropython import const

from .response import bad_answer

_HEAD_MAX_BYTES = const(8192)
_LINE_COST_BYTES = const(64)  # what a line counts beside its length
_FIELD_MAX_BYTES = const(1000)  # of one that is read
_LENGTH_MAX_DIGITS = const(9)
_NO_CONTENT = const(204)
_IDENTITY = const("identity")

_KEPT_FIELDS = const(
    " connection content-encoding content-length content-range content-type date etag im retry-after transfer-encoding "
)


def read_head(response) -> None:
    """Read status line and header fields into `response`; interim answers (1xx) before it are skipped.

    RetryableError for what is no HTTP, too long, or framed in a way that cannot be trusted."""
    room_bytes = _HEAD_MAX_BYTES
    while response.status_code < 200:
        response.headers.clear()
        line = response.line()
        version, _, status = line.partition(b" ")
        if version[:7] != b"HTTP/1." or not status[:3].isdigit() or status[3:4].strip():
            raise bad_answer("no HTTP")
        response.status_code = int(status[:3])
        while line:
            room_bytes -= response.line_bytes + _LINE_COST_BYTES
            line = response.line(room_bytes)
            _keep_field(response.headers, line)
    _frame(response, version == b"HTTP/1.0")


def _keep_field(headers: dict, line: bytes) -> None:
    field, _, value = line.partition(b":")
    value = value.strip()
    try:
        name = str(field, "utf-8").lower()
        if f" {name} " not in _KEPT_FIELDS or not (value or name[-6:] == "length"):  # or it says nothing
            return
        text = str(value, "utf-8")
    except ValueError:  # not UTF-8
        raise bad_answer("no HTTP")
    if len(line) > _FIELD_MAX_BYTES:
        raise bad_answer("too long")
    # Two lengths or codings, or a length that is none: whoever reads this otherwise sees another body's end.
    if name in headers and name[-6:] in ("length", "coding"):
        raise bad_answer("length")
    if name == "content-length" and (not value.isdigit() or len(value) > _LENGTH_MAX_DIGITS):
        raise bad_answer("length")
    headers[name] = text


def _frame(response, closes: bool) -> None:
    """Set how the body ends, and whether the connection can be used again."""
    headers = response.headers
    coding = headers.get("transfer-encoding", _IDENTITY).lower()
    length = headers.get("content-length")
    if headers.get("content-encoding", _IDENTITY).lower() != _IDENTITY:
        raise bad_answer("coding")
    if coding == _IDENTITY:
        coding = ""
    elif coding != "chunked" or length:
        raise bad_answer("coding")
    if response.status_code == _NO_CONTENT or coding:
        response.left_bytes = 0
        response.chunked = response.status_code != _NO_CONTENT
    elif length:
        response.left_bytes = int(length)
    response.bounded = response.left_bytes is not None
    if not response.bounded or closes or "close" in headers.get("connection", "").lower():
        response.link = None
