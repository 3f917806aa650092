"""WiFi as homes have it: wrong passwords, absent networks, routers that restart; and nobody waits for ever."""

import board as board_room
import network
from agent.errors import AgentError, PermanentError, RetryableError
from board import Board
from network import WLAN

from host_tests.unit.expect import raises
from tools.twin import hardware

HOME = {"home": "home-password"}


class Time:
    """Time that passes when somebody sleeps."""

    def __init__(self):
        self.now_ms = 0

    def ticks_ms(self):
        return self.now_ms

    def ticks_add(self, ticks, delta):
        return ticks + delta

    def ticks_diff(self, one, other):
        return one - other

    def sleep_ms(self, duration_ms):
        self.now_ms += duration_ms


class Watchdog:
    def __init__(self, time):
        self.time = time
        self.fed_ms = []

    def feed(self):
        self.fed_ms.append(self.time.ticks_ms())


def radio(networks):
    """Power on in the middle of these networks; gives the time that passes."""
    time = board_room.time = network.time = Time()
    hardware.world = {"wifi": networks}
    network.power_on()
    return time


def connect(networks):
    Board().connect(networks)


def refused(networks, board=None):
    """The error that `connect` raises: its code and its values in one text."""
    try:
        (board or Board()).connect(networks)
    except RetryableError as error:
        return " ".join([str(value) for value in error.args])
    raise AssertionError("connected")


def test_joins_and_costs_nothing_while_it_lasts():
    time = radio(HOME)
    connect([["home", "home-password"]])
    assert WLAN().isconnected() and time.now_ms < 1000
    before = time.now_ms
    connect([["home", "home-password"]])
    assert time.now_ms == before


def test_no_known_network_leaves_the_radio_off():
    radio(HOME)
    connect([])
    assert not WLAN().active()


def test_wrong_password_is_told_from_an_absent_network():
    for wrong in ((15, 205), (202,), (15,), (204,)):
        radio({"home": {"password": "home-password", "wrong": wrong}})
        assert refused([["home", "guessed"]]) == "wifi_wrong_password home", wrong
    radio(HOME)
    assert refused([["hom", "home-password"]]) == "wifi_not_found hom"


def test_reason_of_no_kind_is_no_verdict_on_the_password():
    radio({"home": {"password": "home-password", "reasons": [203] * 9}})
    assert refused([["home", "home-password"]]) == "wifi_no_answer home"


def test_open_network_takes_an_empty_password_and_nothing_else():
    radio({"cafe": ""})
    connect([["cafe", ""]])
    assert WLAN().isconnected()
    radio({"cafe": ""})
    assert refused([["cafe", "home-password"]]) == "wifi_wrong_password cafe"
    radio(HOME)
    assert refused([["home", ""]]) == "wifi_wrong_password home"


def test_first_refusal_is_no_verdict():
    # Seen on real access points: 202 and 201 with the right password, then it joins.
    radio({"home": {"password": "home-password", "reasons": [202, 201]}})
    connect([["home", "home-password"]])
    assert WLAN().isconnected()


def test_second_network_is_joined_when_the_first_is_absent():
    time = radio({"office": "office-password"})
    connect([["home", "home-password"], ["office", "office-password"]])
    assert WLAN().isconnected() and time.now_ms < 12000, "the whole timeout was spent on an absent network"


def test_slow_address_is_not_taken_for_the_refusal_of_the_network_before():
    # `status` still says "no AP found" of the first one while the second is waiting for its address.
    radio({"office": {"password": "office-password", "address": False}})
    text = refused([["home", "home-password"], ["office", "office-password"]])
    assert text == "no_wifi home (not found), office (no address)"


def test_error_names_each_network_with_its_reason_and_no_password():
    time = radio({"office": "office-password", "shed": {"password": "shed-password", "address": False}})
    text = refused([["home", "secret-1"], ["office", "secret-2"], ["shed", "shed-password"]])
    assert text == "no_wifi home (not found), office (wrong password), shed (no address)"
    assert time.now_ms <= 60500, "longer than 20 s per network"


def test_static_address_is_set_and_does_not_stick_to_the_next_network():
    address = ["192.168.1.50", "255.255.255.0", "192.168.1.1", "192.168.1.1"]
    radio({"home": {"password": "home-password", "address": False}})
    connect([["home", "home-password", address]])
    assert WLAN().ifconfig() == tuple(address)
    radio({"cafe": {"password": "", "address": False}})
    text = refused([["home", "home-password", address], ["cafe", ""]])
    assert text == "no_wifi home (not found), cafe (no address)"


def test_lost_network_comes_back_by_itself():
    time = radio({"home": {"password": "home-password", "away": [5, 70]}})
    connect([["home", "home-password"]])
    seen = ""
    for _ in range(80):
        time.sleep_ms(1000)
        seen += "up " if WLAN().isconnected() else "down "
    assert seen.startswith("up ") and "down " in seen and seen.endswith("up "), "the port was not told to rejoin"


def test_next_report_joins_anew_whatever_the_radio_is_doing():
    time = radio({"home": {"password": "home-password", "away": [4, 110]}})
    connect([["home", "home-password"]])
    while WLAN().isconnected():
        time.sleep_ms(1000)
    # The port is in the middle of rejoining: a bare `connect` would raise "Wifi Internal State Error" here.
    assert refused([["home", "home-password"]]) == "wifi_not_found home"
    connect([["home", "home-password"]])
    assert WLAN().isconnected()


def test_address_of_one_network_is_not_taken_to_another():
    radio(dict(HOME, shed="x"))
    address = ["10.0.0.9", "255.255.255.0", "10.0.0.1", "10.0.0.1"]
    connect([["shed", "x", address]])
    assert WLAN().ifconfig()[0] == "10.0.0.9"
    WLAN().disconnect()
    connect([["home", "home-password"]])
    assert WLAN().isconnected() and WLAN().ifconfig()[0] != "10.0.0.9"


def test_radio_sleeps_between_beacons_on_purpose():
    radio(HOME)
    WLAN().config(pm=WLAN.PM_NONE)
    connect([["home", "home-password"]])
    assert WLAN().config("pm") == WLAN.PM_PERFORMANCE


def test_watchdog_is_fed_while_waiting_but_not_during_a_trial():
    watchdog = Watchdog(radio({}))
    board = Board(watchdog, on_trial=True)
    refused([["home", "home-password"]], board)
    assert watchdog.fed_ms == []
    board.end_trial()
    refused([["home", "home-password"], ["office", "x"]], board)
    fed_ms = watchdog.fed_ms
    assert fed_ms and max(fed_ms[at + 1] - fed_ms[at] for at in range(len(fed_ms) - 1)) <= 1000


def test_settings_that_are_no_networks_are_refused_without_showing_them():
    for networks in (
        [[]],
        ["secret"],
        [["secret"]],
        [["secret", 5]],
        [[5, "secret"]],
        [5],
        [["a", "secret", "b", "c"]],
    ):
        radio({})
        assert "secret" not in raises(PermanentError, "bad_config", connect, networks), networks
    for address in ("secret", ["1.2.3.4"], ["1.2.3.4", "x", "y", "secret"], [1, 2, 3, 4], {"a": 1}):
        radio(HOME)
        text = raises(PermanentError, "bad_config", connect, [["home", "home-password", address]])
        assert "secret" not in text and "home-password" not in text, address


def test_driver_that_refuses_is_an_error_of_ours():
    radio(HOME)

    def active(self, on=None):
        raise OSError("Wifi Internal Error")

    kept = WLAN.active
    WLAN.active = active
    try:
        connect([["home", "home-password"]])
    except AgentError as error:
        assert error.args == ("wifi_no_answer", "home")
    finally:
        WLAN.active = kept


MESH = {"password": "home-password", "points": [["0a0000000001", -80], ["0a0000000002", -50], ["0a0000000003", -70]]}


def test_strongest_access_point_of_a_mesh_is_taken():
    radio({"home": MESH, "other": {"password": "x", "points": [["0b0000000001", -20]]}})
    connect([["home", "home-password"]])
    assert WLAN().status("rssi") == -50


def test_strongest_access_point_that_lets_nobody_in_does_not_keep_the_board_outside():
    points = [["0a0000000001", -80], ["0a0000000002", -50, True]]
    time = radio({"home": {"password": "home-password", "points": points}})
    connect([["home", "home-password"]])
    assert WLAN().status("rssi") == -80 and time.now_ms < 25000


def test_hidden_network_is_joined():
    radio({"home": {"password": "home-password", "hidden": True}, "other": "x"})
    connect([["home", "home-password"]])
    assert WLAN().isconnected()


def test_board_has_a_name_of_its_own_and_the_country_that_the_settings_say():
    radio(HOME)
    Board().connect([["home", "home-password"]], "DE")
    assert network.hostname() == "thermometer-000001" and network.country() == "DE"
    radio(HOME)
    raises(PermanentError, "bad_config", Board().connect, [["home", "home-password"]], "DEU")


def test_radio_that_cannot_be_started_is_not_asked_again_and_says_so():
    class Broken:
        asked = 0

        def __init__(self, interface):
            Broken.asked += 1
            raise OSError("Wifi Unknown Error 0x0101")

    radio(HOME)
    board, kept = Board(), network.WLAN
    network.WLAN = Broken
    try:
        for _ in range(3):
            assert refused([["home", "home-password"]], board) == "wifi_no_radio Wifi Unknown Error 0x0101"
            board.disconnect()
        assert Broken.asked == 1, "the second time the driver asserts, and the board restarts in the middle of anything"
    finally:
        network.WLAN = kept


def test_radio_module_of_another_board_is_no_server_that_does_not_answer():
    radio(HOME)
    kept = network.STA_IF
    del network.STA_IF
    try:
        raises(PermanentError, "wifi_no_radio", connect, [["home", "home-password"]])
    finally:
        network.STA_IF = kept
