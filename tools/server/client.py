"""The vendor's calls from Python, over HTTP."""

import os
import ssl
from collections.abc import Callable, Iterator
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
    `verify` says whom to trust for https; by default, whom certifi trusts."""

    def __init__(self, url: str, password: str, verify: ssl.SSLContext | bool = True) -> None:
        # trust_env off: neither a proxy nor a .netrc of the environment comes between the vendor and the server.
        self._http = httpx.Client(
            base_url=url, auth=("vendor", password.encode()), timeout=_TIMEOUT_S, trust_env=False, verify=verify
        )

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

    def create_product(self, name: str, template_id: str, description: str = "") -> dict:
        """A new product: {id, name, description, templateId}."""
        new = {"name": name, "templateId": template_id, "description": description}
        return self._call("POST", "/v1/products.json", json=new)

    def products(self) -> list[dict]:
        """All products."""
        return self._call("GET", "/v1/products.json")

    def add_serials(self, product_id: str, serials: list[str]) -> None:
        """Register serial numbers under a product: all of them or, on an error, none."""
        self._call("POST", f"/v1/products/{_part(product_id)}/serials.json", json={"serialNumbers": serials})

    def serials(self, product_id: str) -> list[str]:
        """The serial numbers registered under a product."""
        return self._call("GET", f"/v1/products/{_part(product_id)}/serials.json")

    def create_version(
        self,
        template_id: str,
        path: Path | str,
        description: str = "",
        progress: Callable[[int], None] | None = None,
    ) -> dict:
        """A new version with the firmware in the file: {id, name, description, sizeBytes, sha256, createdAt}.
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

    def set_target(self, template_id: str, version_id: str) -> None:
        """The version that the template's things should run."""
        self._call("PUT", f"/v1/templates/{_part(template_id)}/target/{_part(version_id)}.json")

    def things(self) -> list[dict]:
        """All activated things: {id, serialNumber, name, description, templateId, currentVersion, currentVersionSince,
        targetVersion, pinned, status, properties}; a version is {id, name, description} or None."""
        return self._call("GET", "/v1/things.json")

    def thing(self, serial: str) -> dict:
        """The thing with this serial number. VendorError with status 404 before its first activation."""
        found = self._call("GET", "/v1/things.json", params={"serialNumber": serial})
        if not found:
            raise VendorError(404, "GK-000-0004", f"no thing with serial number {serial} has been activated")
        return found[0]

    def pin(self, thing_id: str, version_id: str) -> None:
        """The version that this one thing should run."""
        self._call("PUT", f"/v1/things/{_part(thing_id)}/pin/{_part(version_id)}.json")

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


def _chunks(file, progress: Callable[[int], None] | None) -> Iterator[bytes]:
    sent_bytes = 0
    while chunk := file.read(_CHUNK_BYTES):
        yield chunk
        sent_bytes += len(chunk)
        if progress:
            progress(sent_bytes)


def _part(text: str) -> str:
    return quote(text, safe="")
