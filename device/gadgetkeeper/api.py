"""GadgetKeeper's Provision and Things calls, as the device makes them.

Every path stands in ROUTES, so that another server is a change in one place. The README says which of them are
documented by GadgetKeeper and which are chosen in its style.
"""

import json

from .errors import AgentError, FinalError, RetryableError
from .store import is_id

# call: method, path, and the code of the error that a 404 means
ROUTES = {
    "activate": "PUT activate/{serial} not_registered",
    "update thing": "PUT {thing} no_thing",
    "get thing": "GET {thing} no_thing",
    "get target version": "GET {thing}/versions/target no_target",
    "get current version": "GET {thing}/versions/current no_current",
    "get firmware": "GET {thing}/versions/{version}/firmware no_firmware",
    "confirm version": "PUT {thing}/versions/{version} no_version",
    "write property": "PUT {thing}/properties/{property}/value no_property",
}


class Api:
    """The calls for one thing, whose Id and key are in the record `state`. `session` is `transport.Session` or
    anything else with a `request` of urequests' signature and a `close`.

    Every call may raise RetryableError (no answer, 408, 429, 5xx, an answer that is not what it should be;
    "key_dropped" for 401) and FinalError (any other refusal; "no_thing" when the server has lost it)."""

    def __init__(self, server: str, session, state: dict) -> None:
        self._server = server.rstrip("/")
        self._session = session
        self._state = state
        self.date: str | None = None  # of the last answer

    def activate(self, serial: str) -> "tuple[str, str]":
        """Activate the serial number: its thing's Id, and a new API key."""
        return self._fetch("activate", ("thingId", "apiKey"), serial=serial)

    def rename(self, name: str) -> None:
        """Give the thing its name."""
        self._call("update thing", {"name": name, "description": None}).close()

    def target_version(self) -> "tuple[str, str]":
        """Id and name of the version this thing should run."""
        try:
            return self._fetch("get target version", ("id", "name"))
        except FinalError as error:
            if error.code == "no_target":
                self._call("get thing").close()  # a thing that is gone has no target either
            raise

    def current_version(self) -> "str | None":
        """Id of the version the server believes this thing to run; None when it has never confirmed one."""
        try:
            return self._fetch("get current version", ("id", "name"))[0]
        except FinalError as error:
            if error.code == "no_current":
                return None
            raise

    def firmware(self, version_id: str, start: int = 0, size_bytes: int = 0, etag: "str | None" = None):
        """The reply whose body is the version's firmware, for `body.open_body`. The caller closes it.

        With `start`, only what follows that many of its `size_bytes` is asked for, provided that the file is still the
        one of `etag`: status 206 then, else 200 and the whole file."""
        headers = {"Accept": "application/octet-stream, application/json;q=0.5"}
        if start and etag:
            ranged = dict(headers)
            ranged["Range"] = f"bytes={start}-"
            ranged["If-Range"] = etag
            reply = self._call("get firmware", headers=ranged, version=version_id)
            rest = f"bytes {start}-{size_bytes - 1}/{size_bytes}"
            if reply.status_code == 200 or (reply.status_code == 206 and reply.headers.get("content-range") == rest):
                return reply
            reply.close()
        return self._call("get firmware", headers=headers, version=version_id)

    def confirm(self, version_id: str) -> None:
        """Tell the server that the thing now runs this version."""
        self._call("confirm version", version=version_id).close()

    def write_property(self, property_id: str, value: object) -> None:
        """Write one property of the thing."""
        self._call("write property", value, property=property_id).close()

    def close(self) -> None:
        """Let go of the connection."""
        self._session.close()

    def _fetch(self, call: str, members: "tuple[str, str]", **names: str) -> "tuple[str, str]":
        """Two members of the JSON object that is answered. The first must be an Id, and so must the second, unless it
        is a name: then the Id stands in for it."""
        reply = self._call(call, None, None, **names)
        try:
            answer = reply.json()
        except AgentError as error:
            error.call = call
            raise
        finally:
            reply.close()
        if not isinstance(answer, dict):
            answer = {}
        first, second = (answer.get(member) for member in members)
        secret = second
        if members[1] == "name":
            secret = self._state.get("apiKey")
            if not is_id(second) or second == secret:
                second = first
        if first == secret:  # what is taken for an Id is shown on the console
            first = None
        if is_id(first) and is_id(second):
            return str(first), str(second)
        wrong = RetryableError("bad_answer", "no " + members[is_id(first)])
        wrong.call = call
        raise wrong

    def _call(self, call: str, value: object = None, headers: "dict | None" = None, **names: str):
        method, path, missing = ROUTES[call].split(" ")
        headers = headers or {}
        data = None
        if call != "activate":
            headers["X-ApiKey"] = self._state.get("apiKey", "")
        if value is not None:
            data = json.dumps(value).encode()
            headers["Content-Type"] = "application/json"
        path = path.format(thing=self._state.get("thingId"), **names)
        try:
            reply = self._session.request(method, f"{self._server}/v1/things/{path}.json", data=data, headers=headers)
            status = reply.status_code
            self.date = reply.headers.get("date")
            if "Range" in headers if status in (206, 416) else 200 <= status <= 299:
                return reply
            reply.close()
            if status == 401 and call != "activate":
                raise RetryableError("key_dropped")
            if status in (404, 410):
                raise FinalError(missing)
            if status in (408, 429) or status >= 500:
                error = RetryableError("server_error", status)
                from .retry import after_s

                error.retry_after_s = after_s(reply.headers.get("retry-after"), reply.headers.get("date"))
                raise error
            raise FinalError("refused", status)
        except AgentError as error:
            error.call = call
            raise
