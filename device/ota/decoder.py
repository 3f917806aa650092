"""Decoding the server's answer into the firmware's bytes, in fixed memory, whichever form it has.

The forms: the raw image; a JSON string of base64; a JSON object with that string as its `firmware` member.
"""

from agent.runner import run


def open_body(response):
    """Return the response's body as RawBody or `json_decoder.JsonBody`, which have in common:

    `readinto(view)` fills the view with the image's next bytes and returns how many, fewer only at the end; then
    `finish()` reads what follows the image. `size_bytes` is what it will give at most, None when the server did not
    say; it may be too high by `surplus_bytes`."""
    length = response.headers.get("content-length", "")
    length_bytes = int(length) if length.isdigit() else None
    if "octet-stream" in response.headers.get("content-type", "").lower():
        return RawBody(response, length_bytes)
    return run("ota.json_decoder", "JsonBody", response, length_bytes)


class RawBody:
    """The image as it is."""

    surplus_bytes = 0

    def __init__(self, response, length_bytes: "int | None") -> None:
        self.size_bytes = length_bytes
        self._response = response

    def readinto(self, view: memoryview) -> int:
        """See `open_body`."""
        count = more = self._response.readinto(view)
        while more and count < len(view):
            more = self._response.readinto(view[count:])
            count += more
        return count

    def finish(self) -> None:
        """See `open_body`: nothing follows."""


def finish(body, size_bytes: int) -> int:
    """Read what follows the image in the body, and return `size_bytes`. RetryableError when the answer is not
    complete."""
    body.finish()
    return size_bytes
