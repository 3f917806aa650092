"""The vendor's calls from Python, over HTTP."""

import os
import ssl
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

_CHUNK_BYTES = 64 * 1024
_TIMEOUT_S = 30


class VendorError(Exception):
    """A call that failed. `status` is the HTTP status (0: there was no answer), `code` GadgetKeeper's error code
    or "", the text what to tell a person."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class Vendor:
    """The vendor's side of a server. Every method may raise VendorError; close it, or use it as a context manager.
    `name` is the vendor's; `verify` says whom to trust for https; by default, whom certifi trusts."""

    def __init__(self, url: str, password: str, verify: ssl.SSLContext | bool = True, name: str = "vendor") -> None:
        # trust_env off: neither a proxy nor a .netrc of the environment comes between the vendor and the server.
        credentials = (name.encode(), password.encode())
        verify = _by_certifi() if verify is True else verify
        self._http = httpx.Client(base_url=url, auth=credentials, timeout=_TIMEOUT_S, trust_env=False, verify=verify)

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()

    def __enter__(self) -> "Vendor":
        return self

    def __exit__(self, *exception) -> None:
        self.close()

    def create_template(self, name: str, description: str = "") -> dict:
        """A new template: {id, name, description, targetVersion}."""
        return self._call("POST", "/v1/templates.json", json={"name": name, "description": description})

    def templates(self) -> list[dict]:
        """All templates."""
        return self._call("GET", "/v1/templates.json")

    def create_product(
        self, name: str, template_id: str, description: str = "", requires_device_secret: bool = False
    ) -> dict:
        """A new product: {id, name, description, templateId, requiresDeviceSecret}."""
        new = {
            "name": name,
            "templateId": template_id,
            "description": description,
            "requiresDeviceSecret": requires_device_secret,
        }
        return self._call("POST", "/v1/products.json", json=new)

    def products(self) -> list[dict]:
        """All products."""
        return self._call("GET", "/v1/products.json")

    def require_device_secret(self, product_id: str, is_required: bool) -> None:
        """Whether the product's serial numbers can be activated without a device secret."""
        change = {"requiresDeviceSecret": is_required}
        self._call("PUT", f"/v1/products/{_part(product_id)}.json", json=change)

    def add_serials(self, product_id: str, serials: list[str], secret_sha256: dict[str, str] | None = None) -> None:
        """Register serial numbers under a product: all of them or, on an error, none. `secret_sha256`: by serial
        number, the SHA-256 in hex of the device secret, for those that have one."""
        new = {"serialNumbers": serials, "secretSha256": secret_sha256 or {}}
        self._call("POST", f"/v1/products/{_part(product_id)}/serials.json", json=new)

    def serials(self, product_id: str) -> list[str]:
        """The serial numbers registered under a product."""
        return self._call("GET", f"/v1/products/{_part(product_id)}/serials.json")

    def serial(self, serial: str) -> dict:
        """A serial number: {serialNumber, productId, blocked, hasSecret}."""
        return self._call("GET", f"/v1/serials/{_part(serial)}.json")

    def set_secret(self, serial: str, secret_sha256: str) -> None:
        """The hash of the device secret that the board with this serial number has."""
        self._call("PUT", f"/v1/serials/{_part(serial)}.json", json={"secretSha256": secret_sha256})

    def block_serial(self, serial: str, is_blocked: bool = True) -> None:
        """Lock a stolen board out at once, or let it in again."""
        self._call("PUT", f"/v1/serials/{_part(serial)}.json", json={"blocked": is_blocked})

    def remove_serial(self, serial: str) -> None:
        """Take back a serial number that was never activated."""
        self._call("DELETE", f"/v1/serials/{_part(serial)}.json")

    def create_version(
        self,
        template_id: str,
        path: Path | str,
        description: str = "",
        progress: Callable[[int], None] | None = None,
    ) -> dict:
        """A new version with the firmware in the file: {id, name, description, sizeBytes, sha256, createdAt, signed,
        details}. The server checks it as a device would.
        `progress` is told the bytes sent so far. Raises OSError when the file cannot be read."""
        with open(path, "rb") as file:
            return self._call(
                "POST",
                f"/v1/templates/{_part(template_id)}/versions.json",
                params={"description": description},
                content=_chunks(file, progress),
                headers={
                    "Content-Type": "application/octet-stream",
                    "Content-Length": str(os.fstat(file.fileno()).st_size),
                },
            )

    def versions(self, template_id: str) -> list[dict]:
        """The versions of a template, oldest first."""
        return self._call("GET", f"/v1/templates/{_part(template_id)}/versions.json")

    def downloads(self, template_id: str, version_id: str) -> list[dict]:
        """What the version costs things that take patches: {runs, things, sizeBytes, ready} for each version that they
        run; runs is None for all others. While one is not ready, the server is still making its patch."""
        return self._call("GET", f"/v1/templates/{_part(template_id)}/versions/{_part(version_id)}/downloads.json")

    def set_details(self, template_id: str, version_id: str, details: dict) -> None:
        """What else there is to say about a version: its release number, notes."""
        path = f"/v1/templates/{_part(template_id)}/versions/{_part(version_id)}/details.json"
        self._call("PUT", path, json={"details": details})

    def remove_version(self, template_id: str, version_id: str) -> None:
        """Remove a version that nothing runs and nothing should run."""
        self._call("DELETE", f"/v1/templates/{_part(template_id)}/versions/{_part(version_id)}.json")

    def set_target(self, template_id: str, version_id: str, force: bool = False) -> None:
        """The version that the template's things should run. `force`: also one that they would refuse."""
        path = f"/v1/templates/{_part(template_id)}/target/{_part(version_id)}.json"
        self._call("PUT", path, params={"force": force})

    def start_rollout(self, template_id: str, version_id: str, force: bool = False, **plan: Any) -> dict:
        """Roll a version out: {id, version, state, reason, stage, told, confirmed, failed, silent, ...}. `plan`:
        canaries, stages [{percent, durationS}], failedShareMaxPercent, countMin, silentAfterS."""
        path = f"/v1/templates/{_part(template_id)}/rollouts.json"
        return self._call("POST", path, params={"force": force}, json={"versionId": version_id, **plan})

    def rollouts(self, template_id: str | None = None) -> list[dict]:
        """Rollouts, newest first."""
        return self._call("GET", "/v1/rollouts.json", params={"template": template_id} if template_id else {})

    def rollout(self, rollout_id: str) -> dict:
        """A rollout, and how its things are."""
        return self._call("GET", f"/v1/rollouts/{_part(rollout_id)}.json")

    def rollout_members(self, rollout_id: str, outcome: str, **page: str | int) -> list[dict]:
        """Its things that are "confirmed", "failed", "silent" or "open": {serialNumber, canary, toldAt, outcome}."""
        path = f"/v1/rollouts/{_part(rollout_id)}/members.json"
        return self._call("GET", path, params={"outcome": outcome, **page})

    def pause_rollout(self, rollout_id: str, reason: str = "") -> dict:
        """Tell nobody else the version."""
        return self._call("PUT", f"/v1/rollouts/{_part(rollout_id)}/pause.json", json={"reason": reason})

    def resume_rollout(self, rollout_id: str) -> dict:
        """Go on with a rollout that is paused."""
        return self._call("PUT", f"/v1/rollouts/{_part(rollout_id)}/resume.json")

    def cancel_rollout(self, rollout_id: str, reason: str = "") -> dict:
        """End a rollout: its things follow the template's target again."""
        return self._call("PUT", f"/v1/rollouts/{_part(rollout_id)}/cancel.json", json={"reason": reason})

    def things(self, **filters: str) -> list[dict]:
        """All activated things: {id, serialNumber, name, description, templateId, currentVersion, currentVersionSince,
        targetVersion, pinned, status, lastSeen, properties}; a version is {id, name, description} or None. `filters`:
        serialNumber, search, name, status, version; see the table of calls."""
        return list(self.each_thing(**filters))

    def each_thing(self, **filters: str) -> Iterator[dict]:
        """The same, one after the other: asked for in pages."""
        after = ""
        while page := self._call("GET", "/v1/things.json", params={**filters, "after": after}):
            yield from page
            after = page[-1]["serialNumber"]

    def some_things(self, limit: int, **filters: str) -> list[dict]:
        """The same, but so many at most."""
        return self._call("GET", "/v1/things.json", params={**filters, "limit": limit})

    def thing(self, serial: str) -> dict:
        """The thing with this serial number. VendorError with status 404 before its first activation."""
        found = self._call("GET", "/v1/things.json", params={"serialNumber": serial})
        if not found:
            raise VendorError(404, "GK-000-0004", f"no thing with serial number {serial} has been activated")
        return found[0]

    def thing_by_id(self, thing_id: str) -> dict:
        """The thing with this Id."""
        return self._call("GET", f"/v1/things/{_part(thing_id)}.json")

    def reports(self, thing_id: str) -> list[dict]:
        """Return what a thing has told about its updates, oldest first: [{"at": ISO 8601, "value": JSON}, ...]."""
        return self._call("GET", f"/v1/things/{_part(thing_id)}/reports.json")

    def history(self, thing_id: str, property_id: str) -> list[dict]:
        """Return the values of a property that are kept, oldest first: [{"at": ISO 8601, "value": JSON}, ...]."""
        return self._call("GET", f"/v1/things/{_part(thing_id)}/properties/{_part(property_id)}/history.json")

    def events(self, **filters: str | int) -> list[dict]:
        """What has been done, newest first: {at, actor, address, kind, subject, text}. `filters`: subject, kind,
        limit."""
        return self._call("GET", "/v1/events.json", params=filters)

    def vendors(self) -> list[dict]:
        """Who may make these calls: {name, createdAt}."""
        return self._call("GET", "/v1/vendors.json")

    def create_vendor(self, name: str) -> dict:
        """One more who may: {name, createdAt, password}; the password is told only here."""
        return self._call("POST", "/v1/vendors.json", json={"name": name})

    def renew_password(self, name: str) -> dict:
        """A new password for a vendor: {name, createdAt, password}."""
        return self._call("PUT", f"/v1/vendors/{_part(name)}/password.json")

    def remove_vendor(self, name: str) -> None:
        """Take another vendor's access away."""
        self._call("DELETE", f"/v1/vendors/{_part(name)}.json")

    def pin(self, thing_id: str, version_id: str, force: bool = False) -> None:
        """The version that this one thing should run. `force`: also one that they would refuse."""
        self._call("PUT", f"/v1/things/{_part(thing_id)}/pin/{_part(version_id)}.json", params={"force": force})

    def unpin(self, thing_id: str) -> None:
        """Let the thing follow its template's target again."""
        self._call("DELETE", f"/v1/things/{_part(thing_id)}/pin.json")

    def delete_thing(self, thing_id: str) -> None:
        """Have the server forget the thing and its key; its serial number can be activated again."""
        self._call("DELETE", f"/v1/things/{_part(thing_id)}.json")

    def _call(self, method: str, path: str, **request) -> Any:
        try:
            response = self._http.request(method, path, **request)
            if response.status_code == 204:
                return None
            answer = response.json()
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise VendorError(0, "", f"no answer from {self._http.base_url}: {error}") from error
        except ValueError as error:
            text = f"{self._http.base_url} does not answer like GadgetKeeper (status {response.status_code})"
            raise VendorError(response.status_code, "", text) from error
        if response.is_success:
            return answer
        answer = answer if isinstance(answer, dict) else {}
        message = str(answer.get("message", f"status {response.status_code}"))
        raise VendorError(response.status_code, str(answer.get("code", "")), message)


@cache
def _by_certifi() -> ssl.SSLContext:
    """Whom certifi trusts. Reading that takes longer than a call."""
    return httpx.create_ssl_context(trust_env=False)


def _chunks(file, progress: Callable[[int], None] | None) -> Iterator[bytes]:
    sent_bytes = 0
    while chunk := file.read(_CHUNK_BYTES):
        yield chunk
        sent_bytes += len(chunk)
        if progress:
            progress(sent_bytes)


def _part(text: str) -> str:
    return quote(text, safe="")
