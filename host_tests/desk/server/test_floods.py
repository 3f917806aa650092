"""Many who want nothing but to be in the way: the server neither fills up nor stops answering."""

import contextlib
import socket

import httpx
import pytest

from host_tests.desk.server.rig import AtUrl, make_field
from host_tests.desk.server.test_operations import process, vendor_of
from tools.proof.server_bench.world import Server
from tools.server import running
from tools.server.limits import Limit, network_of

MANY = 200
BODY_BYTES = 4 * 1024 * 1024
GROWTH_MAX_BYTES = 50_000_000  # it was 1 GB

ANONYMOUS = [
    "PUT /v1/things/{thing}.json",
    "PUT /v1/things/{thing}/properties/p/value.json",
    "PUT /v1/things/activate/NOBODYS.json",
    "POST /v1/templates/{template}/versions.json",
    "POST /v1/products.json",
    "POST /console/versions",
    "GET /health",
    "PUT /nowhere",
]


@pytest.fixture(scope="module")
def flooded(tmp_path_factory):
    """A server in a process of its own, an active device, and what tells the process's memory."""
    folder = tmp_path_factory.mktemp("flood")
    with process(folder / "data") as (url, started), vendor_of(url, folder / "data") as vendor:
        field = make_field(AtUrl(url, vendor), folder)
        yield field, field.device(), Server(0, started.pid)


def connect(url: str) -> socket.socket:
    address = httpx.URL(url)
    return socket.create_connection((address.host, address.port), timeout=30)


def is_ended(connection: socket.socket) -> bool:
    """Whether the server hangs up; the socket's own time limit is the longest that it may take."""
    with contextlib.suppress(ConnectionResetError, BrokenPipeError):
        while connection.recv(65536):
            pass
    return True


def test_bodies_of_nobody_that_lack_a_byte_take_no_memory_and_end(flooded):
    field, device, server = flooded
    content = bytes(BODY_BYTES - 1)
    before_bytes = server.memory_bytes()
    with contextlib.ExitStack() as stack:
        held = []
        for number in range(MANY):
            request = ANONYMOUS[number % len(ANONYMOUS)].format(thing=device.thing_id, template=field.template["id"])
            held.append(stack.enter_context(connect(device.url)))
            with contextlib.suppress(ConnectionResetError, BrokenPipeError):  # refused, and hung up on
                held[-1].sendall(
                    f"{request} HTTP/1.1\r\nHost: x\r\nContent-Length: {BODY_BYTES}\r\n\r\n".encode() + content
                )
            if number % 50 == 0:
                assert device.poll().status_code == 200
        assert server.memory_bytes() - before_bytes < GROWTH_MAX_BYTES
        assert device.poll().status_code == 200
        assert all(map(is_ended, held))
    assert server.memory_bytes() - before_bytes < GROWTH_MAX_BYTES


def test_slow_heads_and_idle_connections_keep_nobody_out_and_end(flooded):
    _, device, server = flooded
    before_bytes = server.memory_bytes()
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(connect(device.url)) for _ in range(3 * MANY)]
        for slow in held[:MANY]:
            slow.sendall(b"GET /health HTTP/1.1\r\nX: ")
        for was_served in held[MANY : 2 * MANY]:
            was_served.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
            assert was_served.recv(12) == b"HTTP/1.1 200"
        assert device.poll().status_code == 200 and device.write("20.5").status_code == 204
        assert server.memory_bytes() - before_bytes < GROWTH_MAX_BYTES
        assert all(map(is_ended, held))
    assert device.poll().status_code == 200


def test_heads_that_trickle_in_end_as_well(flooded):
    _, device, _ = flooded
    with connect(device.url) as connection, pytest.raises((ConnectionResetError, BrokenPipeError, TimeoutError)):
        connection.settimeout(1)
        connection.sendall(b"GET /health HTTP/1.1\r\n")
        for number in range(60):  # 30 s at the most
            connection.sendall(b"X: %d\r\n" % number)
            with contextlib.suppress(TimeoutError):
                connection.settimeout(0.5)
                if connection.recv(1) == b"":
                    raise ConnectionResetError
        pytest.fail("the server waits for ever")


def test_address_that_a_client_claims_is_not_believed(tmp_path):
    with running(tmp_path / "data", again_burst=3) as server:
        field = make_field(server, tmp_path)
        field.device("S1")
        field.device("S1")
        assert field.server.vendor.events(subject="S1")[0]["address"] == "127.0.0.1"
        statuses = []
        for number in range(5):
            claimed = {"X-Forwarded-For": f"10.0.0.{number}", "Forwarded": f"for=10.0.0.{number}"}
            path = f"{server.url}/v1/things/activate/NOBODYS{number}.json"
            statuses.append(httpx.put(path, headers=claimed, trust_env=False).status_code)
        assert statuses == [404, 404, 429, 429, 429]


def test_machine_with_very_many_addresses_is_counted_once():
    limit = Limit(2, 1, lambda: 0.0)
    waits_s = [limit.take(network_of(f"2001:db8::{number:x}")) for number in range(4)]
    assert [wait_s > 0 for wait_s in waits_s] == [False, False, True, True]
    assert limit.take(network_of("2001:db8:0:1::1")) == 0 == limit.take(network_of("10.0.0.1"))
