"""A server with a small fleet, and a device's calls, for the tests."""

import copy
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from host_tests.desk.server.images import app
from host_tests.desk.server.postgres import Cluster
from tools.server import Running, Vendor, running

HTTP = httpx.Client(trust_env=False, timeout=30)
FIRMWARE = app(200_032)
NEXT = app(100_000, seed=2)
"""The firmware of a version 2."""


@dataclass
class Device:
    """What a device knows, and its calls."""

    url: str
    serial: str
    thing_id: str = ""
    api_key: str = ""

    def activate(self, secret: str | None = None) -> httpx.Response:
        """Activate, and keep what comes of it."""
        headers = {} if secret is None else {"X-DeviceSecret": secret}
        answer = HTTP.put(f"{self.url}/v1/things/activate/{self.serial}.json", headers=headers)
        if answer.status_code == 200:
            self.thing_id, self.api_key = answer.json()["thingId"], answer.json()["apiKey"]
        return answer

    def call(self, method: str, path: str, headers: dict | None = None, **request) -> httpx.Response:
        """A call on its thing."""
        headers = {"X-ApiKey": self.api_key} | (headers or {})
        return HTTP.request(method, f"{self.url}/v1/things/{self.thing_id}{path}", headers=headers, **request)

    def poll(self) -> httpx.Response:
        """Ask for the target version."""
        return self.call("GET", "/versions/target.json")

    def write(self, value: str, property_id: str = "temperature") -> httpx.Response:
        """Write a property."""
        return self.call("PUT", f"/properties/{property_id}/value.json", content=value)


@dataclass
class AtUrl:
    """A server that runs elsewhere, in the place of a `Running`."""

    url: str
    vendor: Vendor


@dataclass
class Field:
    """A template with a product, serial numbers S1 to S4, and one version, the target."""

    server: Running | AtUrl
    template: dict
    product: dict
    version: dict

    def device(self, serial: str = "S1") -> Device:
        """A device that has been activated."""
        device = Device(self.server.url, serial)
        assert device.activate().status_code == 200
        return device


class Fields:
    """Fields that are there at once: servers on copies of the records of one that has been filled before, on SQLite and
    on `postgresql()`, a cluster. What makes the records is the business of test_database.py and test_server.py."""

    def __init__(self, folder: Path, postgresql: Callable[[], Cluster]) -> None:
        self._folder = folder
        self._postgresql = postgresql
        self._made: dict[str, tuple[str | None, dict, dict, dict]] = {}

    @contextmanager
    def open(self, folder: Path, database: str = "sqlite", **settings: object) -> Iterator[Field]:
        """A field of its own on this database, with its data in `folder`/data; `settings` as for `running`."""
        original = self._folder / database
        if database not in self._made:
            url = None if database == "sqlite" else self._postgresql().database()
            with running(original, database_url=url) as server:
                made = make_field(server, self._folder)
            self._made[database] = url, made.template, made.product, made.version
        url, *records = copy.deepcopy(self._made[database])
        shutil.copytree(original, folder / "data")
        if url:
            url = self._postgresql().database(copied_from=url)
        with running(folder / "data", database_url=url, **settings) as server:
            yield Field(server, *records)


def make_field(server: Running | AtUrl, folder: Path) -> Field:
    """Make one on an empty server."""
    template = server.vendor.create_template("Thermometer")
    product = server.vendor.create_product("Kitchen", template["id"])
    server.vendor.add_serials(product["id"], ["S1", "S2", "S3", "S4"])
    version = publish(server, template, folder)
    server.vendor.set_target(template["id"], version["id"])
    return Field(server, template, product, version)


def publish(server: Running | AtUrl, template: dict, folder: Path, content: bytes = FIRMWARE) -> dict:
    """A new version with this firmware."""
    path = folder / "upload.bin"
    path.write_bytes(content)
    return server.vendor.create_version(template["id"], path)


def assert_error(answer: httpx.Response, status: int, code: str) -> None:
    """An error in the documented form."""
    assert answer.status_code == status, answer.text
    assert set(answer.json()) == {"code", "message"}
    assert answer.json()["code"] == code and answer.json()["message"]


def wait_for(condition: Callable[[], object], timeout_s: float = 15) -> None:
    """Wait until it is true."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
