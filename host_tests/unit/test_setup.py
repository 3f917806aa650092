"""The setup's parts: what hostile bytes, odd networks and impatient owners must not bring about."""

import json
import random
import socket

import board as board_room
import network
from agent import owner, round
from agent.errors import RetryableError
from agent.files import read_text
from agent.owner import Owner, read_owner, take_wish, write_owner
from agent.record_reader import read_record
from agent.settings_reader import load_settings
from board import Board, access_point, panel
from setup import form, names, page, web
from setup.portal import Portal

from host_tests.fakes.device import FakeBoard, fake_device
from tools.proof import scratch
from tools.twin import hardware, ports

web.socket = names.socket = ports.on_desk()
ADDRESS = "192.168.4.1"
PASSWORD = "setup-password"


def a_portal(networks=None, **settings):
    """A setup in the middle of these networks; its board's radio is the twin's."""
    hardware.world = {"wifi": {} if networks is None else networks}
    network.power_on()
    device = fake_device(**settings)
    with open(device.root + "serial.txt", "w") as file:
        file.write("THERM00000000000001")
    portal = Portal(device)
    access_point.open_access_point(portal.network, PASSWORD)
    portal.fulfil()
    return portal


def shown(portal):
    """The page, and whether each line of it went out in one piece."""
    written = []
    page.write_page(portal, written.append)
    return b"".join(written).decode()


def asked(data):
    """The request in these bytes, however they come; None while it is not whole, ValueError for what is none."""
    request = web.Request()
    return request if request.take(data) else None


def refuses(function, *arguments):
    try:
        function(*arguments)
    except ValueError:
        return True
    return False


# Names


def query(labels, kind=b"\0\1", flags=b"\1\0"):
    return b"\x12\x34" + flags + b"\0\1" + bytes(6) + labels + b"\0" + kind + b"\0\1"


def test_every_name_is_the_board():
    address = bytes((192, 168, 4, 1))
    for labels in (b"\7captive\5apple\3com", b"", b"\x3f" + b"x" * 63):
        answer = names.answer(query(labels), address)
        assert answer[:12] == b"\x12\x34\x85\x80\0\1\0\1\0\0\0\0" and answer[-6:] == b"\0\4" + address
        assert answer[12 : 12 + len(labels) + 5] == labels + b"\0\0\1\0\1"
    six = names.answer(query(b"\1a", b"\0\x1c"), address)
    assert six[6:8] == b"\0\0" and len(six) == len(query(b"\1a")), "no IPv6 address, and that is the answer"


def test_what_is_no_question_is_not_answered():
    whole = query(b"\7captive\5apple\3com")
    for size in range(len(whole)):
        assert names.answer(whole[:size], b"1234") is None, size
    for bad in (
        query(b"\1a", flags=b"\x81\0"),  # an answer: two boards would answer each other for ever
        query(b"\1a", flags=b"\x28\0"),
        query(b"\xc0\x0c"),
        query(b"\x40" + b"x" * 64),
        whole[:4] + b"\0\2" + whole[6:],
        whole[:4] + b"\0\0" + whole[6:],
    ):
        assert names.answer(bad, b"1234") is None, bad
    random.seed(1)
    for _ in range(2000):
        data = bytearray(whole)
        for _ in range(random.randrange(1, 6)):
            data[random.randrange(len(data))] = random.randrange(256)
        answer = names.answer(bytes(data), b"1234")
        assert answer is None or len(answer) <= len(data) + 16


# Requests


def test_request_is_the_same_however_it_is_cut():
    whole = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 7\r\n\r\ndo=look"
    for cut in range(1, len(whole)):
        request = web.Request()
        assert not request.take(whole[:cut]) and request.take(whole[cut:])
        assert (request.method, request.path, request.body) == (b"POST", b"/", b"do=look")
    assert asked(b"GET /x?y HTTP/1.0\n\n").path == b"/x?y"
    assert asked(whole[:-7]) is None and asked(whole + b"GET").body == b"do=look"


def test_what_is_no_request_is_refused():
    for head in (
        b"GET /\r\n",
        b"GET / HTTP/0.9\r\n",
        b"GET / HTTP/2.0\r\n",
        b"PUT / HTTP/1.1\r\n",
        b"get / HTTP/1.1\r\n",
        b"GET / x HTTP/1.1\r\n",
        b"\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\n",
        b"GET / HTTP/1.1\r\nContent-Length: -1\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: 1025\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: 1_0\r\n",
        b"GET / HTTP/1.1\r\nContent-Length:\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n",
        b"POST / HTTP/1.1\r\nHost: 192.168.4.1\r\nOrigin: http://evil.example\r\n\r\n",
        b"GET /" + b"x" * 2000,
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 2000,
    ):
        assert refuses(asked, head), head[:60]
    assert asked(b"POST / HTTP/1.1\r\nHost: 192.168.4.1\r\nOrigin: http://192.168.4.1\r\n\r\n")
    assert asked(b"POST / HTTP/1.1\r\nHost: 192.168.4.1\r\nOrigin: null\r\n\r\n"), "a phone's sign-in window"


def test_generated_bytes_are_a_request_or_refused():
    random.seed(2)
    whole = b"POST / HTTP/1.1\r\nHost: a\r\nOrigin: http://a\r\nContent-Length: 7\r\n\r\ndo=look"
    for _ in range(3000):
        data = bytearray(whole)
        for _ in range(random.randrange(1, 8)):
            at = random.randrange(len(data))
            data[at : at + random.randrange(3)] = bytes(random.randrange(256) for _ in range(random.randrange(4)))
        request = web.Request()
        try:
            request.take(bytes(data))
            assert len(request._rest) <= 1200
        except ValueError:
            pass


class Visitor:
    """A client of the web server, whose turn it is between the calls of `look`."""

    def __init__(self, server):
        self.server = server
        self.socket = socket.socket()
        port = hardware.world["ports"]["80"]
        self.socket.connect(socket.getaddrinfo("127.0.0.1", port)[0][-1])
        self.socket.setblocking(False)

    def says(self, data):
        """Send this, and give what the server answers until it closes."""
        view = data
        answer = b""
        for _ in range(400):
            if view:
                try:
                    view = view[self.socket.send(view[:4096]) :]
                except OSError as error:
                    assert error.errno in (11, 32, 104)
            self.server.look()
            try:
                more = self.socket.recv(4096)
                if not more:
                    break
                answer += more
            except OSError as error:
                if error.errno == 104:
                    break
        return answer


def a_server(portal):
    for _ in range(20):
        hardware.world["ports"] = {"80": 18080 + random.randrange(20000)}
        try:
            return web.Web(portal, ADDRESS)
        except OSError:  # in use by another program
            pass
    raise AssertionError("no port is free")


def test_page_of_any_size_reaches_a_visitor_whole_and_others_are_told_off():
    portal = a_portal({f"network {number} 🏠": "password" for number in range(20)})
    server = a_server(portal)
    try:
        answer = Visitor(server).says(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n") and answer.endswith(b"</main>\n")
        assert answer.count(b"type=radio") == 11
        assert Visitor(server).says(b"HEAD / HTTP/1.1\r\n\r\n").endswith(b"\r\n\r\n")
        assert Visitor(server).says(b"GET /favicon.ico HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 303 ")
        for bad in (b"BREW / HTTP/1.1\r\n\r\n", b"POST / HTTP/1.1\r\nContent-Length: 99999\r\n\r\n" + b"x" * 99999):
            assert Visitor(server).says(bad) == b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"
        assert Visitor(server).says(b"POST / HTTP/1.1\r\nContent-Length: 7\r\n\r\ndo=%zz.").startswith(b"HTTP/1.1 400 ")
    finally:
        server.close()


def test_four_who_say_nothing_keep_nobody_out_for_long():
    class Time:
        now_ms = 0

        def ticks_ms(self):
            return self.now_ms

        def ticks_diff(self, one, other):
            return one - other

    kept, web.time = web.time, Time()
    server = a_server(a_portal())
    try:
        idle = [Visitor(server) for _ in range(4)]
        for _ in idle:
            server.look()
        late = Visitor(server)
        assert late.says(b"GET / HTTP/1.1\r\n\r\n") == b""
        web.time.now_ms += 5001
        server.look()
        assert b"200 OK" in late.says(b"")
        assert len(server._requests) == 0
    finally:
        server.close()
        web.time = kept


# The form, and the page


def sent(portal, body):
    form.take_form(portal, body)
    return portal.outcome


def test_form_is_understood_or_refused():
    portal = a_portal()
    sent(portal, b"do=join&network=&other=caf%C3%A9+%26+co&password=%F0%9F%8F%A0%F0%9F%8F%A0&name=K%C3%BCche")
    choice = portal.choice
    assert (choice.network, choice.password, choice.name) == ("café & co".encode(), "🏠🏠", "Küche")
    assert portal.wish == "join"
    for bad in (
        b"",
        b"do=",
        b"do=dance",
        b"do=%ff",
        b"do=join&network=xy",
        b"do=join&network=123",
        b"do=join&other=a&password=%ff%ff",
        b"do=join&other=a&password=%4",
        b"do=join&other=a&name=" + b"x" * 33,
        b"do=join&other=a&name=a%0ab",
        b"do=keep",
    ):
        assert refuses(sent, a_portal(), bad), bad


def test_names_and_passwords_that_no_network_has_are_told_from_those_that_one_may_have():
    for other, password, outcome in (
        (b"a" * 32, b"", ""),
        (b"a" * 33, b"", "bad_network"),
        (b"", b"", "bad_network"),
        (b"a", b"1234567", "bad_password"),
        (b"a", b"12345678", ""),
        (b"a", b"x" * 63, ""),
        (b"a", b"x" * 64, "bad_password"),
        (b"a", b"0aF9" * 16, ""),
        (b"a", b"1234567%00", "bad_password"),
    ):
        portal = a_portal()
        assert sent(portal, b"do=join&other=" + other + b"&password=" + password) == outcome, (other, password)
        assert portal.wish == ("" if outcome else "join")


def test_second_owner_waits_for_the_first():
    portal = a_portal()
    sent(portal, b"do=join&other=first&password=")
    sent(portal, b"do=join&other=second&password=")
    assert portal.choice.network == b"first"
    portal.wish, portal.outcome = "", "trying"
    sent(portal, b"do=join&other=second&password=")
    assert (portal.choice.network, portal.wish) == (b"first", "")


def test_page_says_each_outcome_once_and_never_the_password():
    portal = a_portal({"home": "password"})
    portal.choice = Owner(b"<b>&\"'$thing", "s3cret-password", '<i>$setup"')
    for outcome, words in (
        ("wifi_wrong_password", "refuses this password"),
        ("wifi_not_found", "is not found"),
        ("wifi_no_address", "gives no address"),
        ("wifi_no_answer", "does not let the thermometer in"),
        ("no_server", "server does not answer"),
        ("not_registered", "does not know the serial number THERM00000000000001"),
        ("bad_network", "Choose a network"),
        ("bad_password", "8 to 63 characters"),
        ("owner_not_saved", "could not keep"),
        ("trying", "Joining"),
        ("joined", "Done"),
    ):
        portal.outcome = outcome
        text = shown(portal)
        assert text.count("<p role=") == 1 and words in text, outcome
        assert ("<form" in text) == (outcome not in ("trying", "joined", "not_registered")), outcome
        assert "s3cret" not in text and "<b>" not in text and "<i>" not in text and "@" not in text, outcome
        if "<bdi>" in text and outcome not in ("bad_network", "bad_password", "owner_not_saved"):
            assert "<bdi>&lt;b&gt;&amp;&quot;'&#36;thing</bdi>" in text, outcome
    portal.outcome = ""
    assert "<p role=" not in shown(portal)


def test_page_without_any_network_still_takes_a_name():
    text = shown(a_portal())
    assert "name=other" in text and text.count("type=radio") == 1


def test_networks_are_listed_once_the_strongest_first_and_hidden_ones_not():
    kept = network.WLAN.scan
    network.WLAN.scan = lambda self: (
        [
            (b"weak", b"", 1, -90, 3, False),
            (b"", b"", 1, -30, 3, False),
            (b"\0\0", b"", 1, -30, 3, False),
            (b"twice", b"", 1, -70, 3, False),
            (b"twice", b"", 6, -50, 3, False),
        ]
        + [(b"many %d" % number, b"", 1, -91 - number, 0, False) for number in range(40)]
    )
    try:
        portal = a_portal()
    finally:
        network.WLAN.scan = kept
    assert [each.name for each in portal.found[:3]] == [b"twice", b"weak", b"many 0"] and len(portal.found) == 10
    assert portal.found[0].signal_dbm == -50 and portal.found[2].is_open


# The radio


def test_own_network_has_the_labels_password_or_is_not_on_the_air():
    a_portal()
    assert network._point.name() == "Thermometer-000001" and not network._point.is_open()
    for password in ("", "short"):
        network.power_on()
        try:
            access_point.open_access_point("x", password)
        except RetryableError as error:
            assert error.code == "no_setup"
        else:
            raise AssertionError("opened")
        assert not network._point.on_air


# When it opens


class Radio(FakeBoard):
    """A board that joins no network."""

    def connect(self, networks, country=""):
        raise RetryableError("wifi_not_found", "home")


def opens(board=None, wifi=(), thing_id=None, password=PASSWORD, wish=None):
    """Whether a board with these settings and this record opens its own network; None when its round fails."""
    device = fake_device(board or Radio())
    with open(device.root + "config.json", "w") as file:
        json.dump({"setup_password": password, "wifi": [["a", "b"]] if wifi else []}, file)
    if thing_id:
        device.record.save(thing_id=thing_id)
    if wish:
        owner.ask(device.root, wish)
    try:
        return round.prepare(device)
    except RetryableError:
        return None


def test_board_opens_its_network_when_it_knows_none_or_has_never_reached_a_server():
    assert opens() is True
    assert opens(thing_id="t") is True
    assert opens(wifi=True) is True
    assert opens(FakeBoard(), wifi=True) is False


def test_board_that_has_been_in_use_opens_nothing_by_itself():
    assert opens(wifi=True, thing_id="t") is None
    assert opens(FakeBoard(), wifi=True, thing_id="t") is False
    assert opens(FakeBoard(), wifi=True, thing_id="t", wish=owner.SET_UP) is True


def test_board_without_a_password_of_its_own_or_in_a_trial_opens_nothing():
    assert opens(password="") is None
    assert opens(password="1234567") is None
    assert opens(FakeBoard(), wifi=True, thing_id="t", wish=owner.SET_UP, password="") is False
    assert opens(Radio(on_trial=True), wifi=True) is None
    assert opens(FakeBoard(on_trial=True), wifi=True, wish=owner.SET_UP) is False


# What is kept


def test_what_the_owner_says_is_kept_beside_the_factorys_settings():
    device = fake_device()
    before = '{"wifi": [["factory", "f"]]}'
    with open(device.root + "config.json", "w") as file:
        file.write(before)
    write_owner(device.root, Owner("café".encode(), "p🏠", "Küche"))
    load_settings(device)
    settings = device.settings
    assert settings.wifi == [["café", "p🏠"], ["factory", "f"]] and settings.thing_name == "Küche"
    write_owner(device.root, Owner(b"\xff\0", "p", ""))
    load_settings(device)
    assert settings.wifi[0] == [b"\xff\0", "p"] and settings.thing_name == "ThermometerDevice"
    assert read_text(device.root + "config.json") == before


def test_damaged_file_is_no_owner_and_no_crash():
    for content in (b"", b"{", b"[]", b"5", b"null", b'{"network": "6"}', b'{"network": 5, "password": "", "name": ""}',
                    b'{"network": "61", "password": null, "name": ""}', b"\xff"):  # fmt: skip
        root = scratch.folder()
        with open(root + "owner.json", "wb") as file:
            file.write(content)
        assert read_owner(root) is None, content


def test_owner_who_is_forgotten_leaves_nothing_behind():
    device = fake_device()
    device.record.save(thing_id="t", api_key="k", renamed=True, confirmed=True, server="s", floor=3)
    write_owner(device.root, Owner(b"home", "p", "Kitchen"))
    owner.ask(device.root, owner.FORGET)
    assert take_wish(device) and not take_wish(device)
    assert read_owner(device.root) is None
    record = read_record(device.root)
    assert (record.thing_id, record.api_key, record.renamed, record.confirmed) == (None, None, False, False)
    assert (record.server, record.floor) == ("s", 3), "what keeps firmware in check stays"


def test_wish_for_a_setup_forgets_nothing():
    device = fake_device()
    device.record.save(thing_id="t", api_key="k")
    write_owner(device.root, Owner(b"home", "p", "Kitchen"))
    owner.ask(device.root, owner.SET_UP)
    assert take_wish(device) and not take_wish(device)
    assert read_owner(device.root).network == b"home" and read_record(device.root).api_key == "k"


# Button and LED


class Time:
    def __init__(self):
        self.now_ms = 0

    def sleep_ms(self, duration_ms):
        self.now_ms += duration_ms


def held(looks, on_trial=False, wait_ms=60_000):
    """What a board is asked for by a button that is down for so many looks of 100 ms; and the patterns on its LED."""
    wishes, patterns = [], []
    time = board_room.time = panel.time = Time()
    hardware.world = {"button": {"0": [[5, 5 + looks]]}}
    board_room.machine.Pin.looks = 0
    panel.ask = lambda root, wish: wishes.append((root, wish))
    board = Board(None, on_trial)
    board.use_pins(0, 2)
    board.show("in step")
    try:
        while time.now_ms < wait_ms:
            board.wait(1000)
            pattern = hardware.world["leds"][2]
            if pattern not in patterns:
                patterns.append(pattern)
    except hardware.PowerLoss:
        patterns.append(hardware.world["leds"][2])
    return [wish for _, wish in wishes]


def test_button_is_held_for_three_seconds_to_set_up_and_for_ten_to_forget():
    assert held(0) == held(1) == held(28) == []
    assert held(32) == held(95) == [owner.SET_UP]
    assert held(105) == held(250) == [owner.FORGET]


def test_button_that_is_stuck_or_pressed_in_a_trial_asks_for_nothing():
    assert held(10_000) == []
    assert held(105, on_trial=True) == []


def test_led_has_five_patterns_and_none_where_there_is_no_led():
    hardware.world = {}
    board = Board()
    board.use_pins(-1, -1)
    board.show("wrong")
    assert "leds" not in hardware.world
    board.use_pins(-1, 2)
    seen = set()
    for state in ("setting up", "joining", "in step", "updating", "wrong"):
        board.show(state)
        seen.add(hardware.world["leds"][2])
    assert len(seen) == 5
