"""An owner's first five minutes, on both runtimes: from a fresh board to one in step, with nothing but a browser."""

import json
import re
import socket
import struct

import pytest

from host_tests.fakes.owner import LABEL_PASSWORD, NETWORK, NO_TEXT, PASSWORD, NewHome, changed_release

ON_BOTH = [pytest.param("vm", marks=pytest.mark.vm), "cpython"]
WRONG = "gu3ssed-wrongly"
OWN = "Thermometer-000001"


def said(page):
    """What the page says of how it went, without markup."""
    return re.sub("<[^>]*>", "", re.search("<p role=(?:alert|status)>(.*)", page)[1])


def in_step(console):
    return "in step with version" in console


def choose(network, **fields):
    return {"do": "join", "network": (network if isinstance(network, bytes) else network.encode()).hex(), **fields}


@pytest.fixture(params=ON_BOTH)
def home(request, tmp_path):
    with NewHome(tmp_path, request.param) as made:
        made.set_target("1")
        yield made


def test_owner_gets_from_a_fresh_board_to_one_in_step_by_every_mistake_first(home):
    owner = home.owner
    home.close_server()
    with home.powered(until=in_step) as board:
        page = owner.page()
        listed = re.findall(r"<bdi>(.*?)</bdi> (\w+, \w+)", page)
        assert [signal for _, signal in listed] == [
            "strong, locked",
            "good, locked",
            "good, open",
            *["weak, locked"] * 2,
        ]
        assert listed[0][0] == "home &lt;b&gt;&amp;'&quot;&#36;thing 🏠" and listed[4][0] == "\\xff\\xfe" * 16
        assert 'value="ThermometerDevice"' in page

        assert "refuses this password" in said(owner.send(**choose(NETWORK, password=WRONG)))
        assert "is not found here" in said(owner.send(do="join", network="", other="hom", password=PASSWORD))
        assert "gives no address" in said(owner.send(**choose("no address", password=PASSWORD)))
        assert "8 to 63 characters" in said(owner.send(**choose(NETWORK, password="short")))
        assert "8 to 63 characters" in said(owner.send(**choose(NETWORK, password="ü" * 32)))
        assert "Choose a network" in said(owner.send(do="join", network="", other="", password=PASSWORD))
        page = owner.send(**choose(NETWORK, password=PASSWORD, name="Küche"))
        assert "server does not answer" in said(page) and "Keep this network anyway" in page
        assert "/owner.json" not in home.twin().files(), "kept, though no server was reached"
        assert f"{NETWORK.encode().hex()} checked" in page and 'value="Küche"' in page, "the owner begins anew"

        home.open_server()
        assert "is joined, and the server answers" in said(
            owner.send(**choose(NETWORK, password=PASSWORD, name="Küche"))
        )
        board.settle()
    assert home.thing()["name"] == "Küche"
    kept = json.loads(home.twin().files()["/owner.json"])
    assert kept == {"network": NETWORK.encode().hex(), "password": PASSWORD, "name": "Küche"}
    for secret in (PASSWORD, WRONG, LABEL_PASSWORD):
        assert secret not in board.console + owner.heard

    # From now on it starts like any other, and what was the setup's is closed.
    console = home.power_on()
    assert "setup" not in console and "in step with version" in console


def test_network_whose_name_is_no_text_is_joined_by_its_bytes_and_again_after_power_on(home):
    with home.powered(until=in_step) as board:
        home.owner.page()
        home.owner.send(**choose(NO_TEXT, password=PASSWORD))
        board.settle()
    assert "setup" not in home.power_on()


def test_serial_number_that_is_not_registered_is_said_and_the_network_kept(home):
    home.change_files(serial_txt=b"THERM00000000000099\n")
    with home.powered(until=lambda console: "[not_registered]; the thermometer runs" in console) as board:
        home.owner.page()
        text = said(home.owner.send(**choose("cafe")))
        assert "does not know the serial number THERM00000000000099" in text
        board.settle()
    assert b'"password": ""' in home.twin().files()["/owner.json"]


def test_network_is_kept_without_a_server_when_the_owner_says_so(home):
    home.close_server()
    with home.powered(until=lambda console: "[no_answer]; the thermometer runs" in console) as board:
        home.owner.page()
        home.owner.send(**choose("cafe"))
        home.owner.send(do="keep")
        board.settle()
    assert "/owner.json" in home.twin().files()


def test_factory_network_that_was_never_joined_opens_the_setup_and_one_that_was_does_not(tmp_path):
    with NewHome(tmp_path, "cpython", wifi=[["factory", "factory-password"]]) as home:
        home.set_target("1")
        with home.powered(until=lambda console: "setup: join the network" in console) as board:
            board.settle()
        home.world["wifi"] = {"factory": "factory-password"}
        assert "setup" not in home.power_on()
        home.world["wifi"] = {}
        console = home.power_on(until=lambda console: " C, not reported" in console or "not reported:" in console)
        assert "setup" not in console and "[wifi_not_found]" in console


def query(name, kind=1):
    labels = b"".join(bytes((len(part),)) + part.encode() for part in name.split("."))
    return b"\x12\x34\x01\x00\x00\x01" + bytes(6) + labels + b"\0" + struct.pack(">HH", kind, 1)


PROBES = (  # what phones and computers ask to find out whether a network leads anywhere
    ("connectivitycheck.gstatic.com", "/generate_204"),
    ("captive.apple.com", "/hotspot-detect.html"),
    ("www.msftconnecttest.com", "/connecttest.txt"),
    ("detectportal.firefox.com", "/canonical.html"),
    ("nmcheck.gnome.org", "/check_network_status.txt"),
)


def test_phone_is_led_to_the_page_by_its_own_question(home):
    with home.powered(until=in_step) as board:
        home.owner.page()
        for host, path in PROBES:
            assert home.owner.look_up(query(host))[-4:] == bytes((192, 168, 4, 1))
            response = home.owner.ask("GET", path, Host=host, User_Agent="CaptiveNetworkSupport")
            assert (response.status, response.getheader("Location")) == (303, "/"), host
            assert "<form" in home.owner.ask("GET", "/", Host=host).text
        home.owner.send(**choose("cafe"))
        board.settle()


@pytest.mark.vm
def test_two_owners_at_once_and_one_who_leaves_in_the_middle(tmp_path):
    with NewHome(tmp_path, "vm") as home:
        home.set_target("1")
        with home.powered(until=in_step) as board:
            home.owner.page()
            idle = [socket.create_connection(("127.0.0.1", home.owner.ports["80"])) for _ in range(3)]
            idle[0].sendall(b"POST / HTTP/1.1\r\nContent-Length: 500\r\n\r\ndo=jo")
            idle[1].sendall(b"GET / HTTP/1.1\r\nHost")
            idle[1].close()
            assert "<form" in home.owner.page(), "those who say nothing keep others out"
            assert (
                home.owner.ask("POST", "/", f"do=join&network={NETWORK.encode().hex()}&password={WRONG}").status == 303
            )
            assert home.owner.ask("POST", "/", f"do=join&network={b'cafe'.hex()}&password=").status == 303
            assert "refuses this password" in said(home.owner.outcome())
            home.owner.send(**choose(NETWORK, password=PASSWORD))
            board.settle()
            for each in idle:
                each.close()
        assert json.loads(home.twin().files()["/owner.json"])["network"] == NETWORK.encode().hex()


HEAP_MOST_BYTES = 32 * 1024  # on this 64-bit VM; half of it on a board
SETUP = ("agent.owner", "board.access_point", "board.panel", "board.wifi")
WEIGH = b"""import gc, sys
gc.collect()
print("heap:", gc.mem_alloc(), " ".join(sys.modules))
"""


def weighed(line, indent):
    """The line, and before it what prints how much of the heap is in use, and by which modules."""
    whole = b" " * indent + line
    return {whole: b"".join(b" " * indent + part + b"\n" for part in WEIGH.splitlines()) + whole}


@pytest.mark.vm
def test_setup_takes_little_memory_and_none_of_it_afterwards(tmp_path):
    changes = {
        "/agent/loop.py": weighed(b'run("setup.portal", "set_up", device)', 12),
        "/setup/page.py": weighed(b'portal.is_read = kind == "done"', 4),
        "/main.py": weighed(b'serial = run("agent.serial_number"', 4),
    }
    with NewHome(tmp_path, "vm", changed_release(changes, compiled=True)) as home:
        home.set_target("1")
        crowd = {f"network number {number}": {"password": "x", "signal": -80 - number} for number in range(20)}
        home.world["wifi"] = {**home.world["wifi"], **crowd}
        with home.powered(until=lambda console: "firmware 1 into" in console) as board:
            home.owner.page()
            home.owner.send(**choose(NETWORK, password=PASSWORD, name="x" * 32))
            board.settle()
    (before, _), *during, (_, modules) = re.findall(r"heap: (\d+) (.*)", board.console)
    taken = [int(weight) - int(before) for weight, _ in during]
    print("above what the agent holds anyway:", max(taken))
    assert len(taken) >= 3 and max(taken) <= HEAP_MOST_BYTES, taken
    left = [name for name in modules.split() if name in SETUP or name.partition(".")[0] == "setup"]
    assert left == [], left
