"""An answer of a server as the agent's transport hands it on, for fakes in the agent's own process, on any runtime."""

import binascii
import json


class Reply:
    """An answer that gives its body in pieces of `piece` bytes; after `broken_at` bytes it raises `error` instead."""

    def __init__(
        self,
        body=b"",
        kind="application/json",
        status_code=200,
        piece=1460,
        bounded=True,
        length=True,
        broken_at=None,
        error=None,
    ):
        self.status_code = status_code
        self.headers = {"content-type": kind}
        if length:
            self.headers["content-length"] = str(len(body))
        self.bounded = bounded
        self.closed = False
        self.body = body
        self._piece = piece
        self._given = 0
        self._broken_at = broken_at
        self._error = error

    def readinto(self, view):
        """Fill `view` with the next piece; the number of bytes, 0 at the end."""
        if self._broken_at is not None and self._given >= self._broken_at:
            raise self._error
        part = self.body[: min(self._piece, len(view))]
        view[: len(part)] = part
        self.body = self.body[len(part) :]
        self._given += len(part)
        return len(part)

    take = readinto

    def close(self):
        """End the answer."""
        self.closed = True


def json_reply(value, status_code=200):
    """An answer with this value as JSON."""
    return Reply(json.dumps(value).encode(), status_code=status_code)


def as_string(image):
    """The body of a firmware sent as a JSON string."""
    return b'"' + binascii.b2a_base64(image).strip() + b'"'
