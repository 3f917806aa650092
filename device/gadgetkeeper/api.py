"""GadgetKeeper's Provision and Things calls, as the device makes them.

Every path stands in ROUTES, so that another server is a change in one place. The README says which of them are
documented by GadgetKeeper and which are chosen in its style.
"""

import json

from .errors import FinalError, KeyDropped, NotFound, RetryableError
from .store import is_id

# call: method, path, what a 404 means
ROUTES = {
    "activate": ("PUT", "/v1/things/activate/{serial}.json", "the serial number is not registered"),
    "update thing": ("PUT", "/v1/things/{thing}.json", "no such thing"),
    "get thing": ("GET", "/v1/things/{thing}.json", "no such thing"),
    "get target version": ("GET", "/v1/things/{thing}/versions/target.json", "no target version is set"),
    "get current version": ("GET", "/v1/things/{thing}/versions/current.json", "no version is confirmed"),
    "get firmware": (
        "GET",
        "/v1/things/{thing}/versions/{version}/firmware.json",
        "the version has no firmware",
    ),
    "confirm version": ("PUT", "/v1/things/{thing}/versions/{version}.json", "no such version"),
    "write property": ("PUT", "/v1/things/{thing}/properties/{property}/value.json", "no such property"),
}

_ACCEPT_FIRMWARE = "application/octet-stream, application/json;q=0.5"


class Api:
    """The calls for one thing. `request` is `transport.request` or anything with urequests' signature and its Reply.

    Every call may raise RetryableError (no answer, 408, 429, 5xx, an answer that is not what it should be), KeyDropped
    (401), NotFound (404) and FinalError (any other refusal)."""

    def __init__(self, server: str, request, thing_id: str = "", api_key: str = "") -> None:
        self._server = server.rstrip("/")
        self._request = request
        self.thing_id = thing_id
        self.api_key = api_key

    def activate(self, serial: str) -> None:
        """Activate the serial number: from now on the calls are for its thing, with a new API key."""
        answer = self._object("activate", serial=serial)
        self.thing_id = _id(answer, "thingId", "activate")
        self.api_key = _id(answer, "apiKey", "activate")

    def rename(self, name: str) -> None:
        """Give the thing its name."""
        self._call("update thing", {"name": name, "description": None}).close()

    def target_version(self) -> "tuple[str, str]":
        """Id and name of the version this thing should run. NotFound when there is none."""
        return self._version("get target version")

    def current_version(self) -> "tuple[str, str] | None":
        """Id and name of the version the server believes this thing to run; None when it has never confirmed one."""
        try:
            return self._version("get current version")
        except NotFound:
            return None

    def knows_thing(self) -> bool:
        """False when the server has no such thing any more, or one with another key."""
        try:
            self._call("get thing").close()
        except (NotFound, KeyDropped):
            return False
        return True

    def firmware(self, version_id: str, start: int = 0, etag: "str | None" = None):
        """The reply whose body is the version's firmware, for `body.open_body`. The caller closes it.

        With `start`, only what follows that many bytes is asked for, provided that the file is still the one of `etag`:
        status 206 then. Any other status means that the server does not go on: 200 with the whole file, 416 with none.
        """
        headers = {"Accept": _ACCEPT_FIRMWARE}
        if start and etag:
            headers["Range"] = f"bytes={start}-"
            headers["If-Range"] = etag
        return self._call("get firmware", headers=headers, version=version_id)

    def confirm(self, version_id: str) -> None:
        """Tell the server that the thing now runs this version."""
        self._call("confirm version", version=version_id).close()

    def write_property(self, property_id: str, value: object) -> None:
        """Write one property of the thing."""
        self._call("write property", value, property=property_id).close()

    def _version(self, call: str) -> "tuple[str, str]":
        answer = self._object(call)
        name = answer.get("name")
        version_id = _id(answer, "id", call)
        return version_id, str(name) if is_id(name) else version_id

    def _object(self, call: str, serial: str = "") -> dict:
        reply = self._call(call, serial=serial)
        try:
            answer = reply.json()
        except RetryableError as error:
            raise RetryableError(error.code, f"{call}: {error}")
        finally:
            reply.close()
        if not isinstance(answer, dict):
            raise RetryableError("bad_answer", f"{call}: the answer is not a JSON object")
        return answer

    def _call(self, call: str, value: object = None, headers: "dict | None" = None, **names: str):
        method, path, missing = ROUTES[call]
        headers = headers or {}
        data = None
        if call != "activate":
            headers["X-ApiKey"] = self.api_key
        if value is not None:
            data = json.dumps(value).encode()
            headers["Content-Type"] = "application/json"
        url = self._server + path.format(thing=self.thing_id, **names)
        try:
            reply = self._request(method, url, data=data, headers=headers)
        except RetryableError as error:
            raise RetryableError(error.code, f"{call}: {error}")
        status = reply.status_code
        if 200 <= status <= 299 or (status == 416 and "Range" in headers):
            return reply
        reply.close()
        if status == 401 and call != "activate":
            raise KeyDropped("key_dropped", f"{call}: the server does not know the API key (401)")
        if status == 404:
            raise NotFound("not_found", f"{call}: {missing} (404)")
        if status in (408, 429) or status >= 500:
            raise RetryableError("server_error", f"{call}: the server answers {status}")
        raise FinalError("refused", f"{call}: the server refuses ({status})")


def _id(answer: dict, member: str, call: str) -> str:
    value = answer.get(member)
    if not is_id(value):
        raise RetryableError("bad_answer", f"{call}: the answer has no {member}")
    return str(value)
