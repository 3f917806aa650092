"""`network` on the virtual chip: the access points of its world, over which the desk's own network is reached.

Behaves like MicroPython's ESP32 port 1.27 (ports/esp32/network_wlan.c) on ESP-IDF 5: what is remembered of an earlier
attempt, which reasons `status` shows while tries are left, and which calls raise while one is under way.
"""

import time

from tools.twin import hardware

STA_IF, AP_IF = 0, 1
STAT_IDLE, STAT_CONNECTING, STAT_GOT_IP = 1000, 1001, 1010
STAT_BEACON_TIMEOUT, STAT_NO_AP_FOUND, STAT_WRONG_PASSWORD = 200, 201, 202
STAT_ASSOC_FAIL, STAT_HANDSHAKE_TIMEOUT = 203, 204
AUTH_OPEN, AUTH_WPA2_PSK = 0, 3

_ASSOC_LEAVE, _CONNECTION_FAIL = 8, 205
_FOUR_WAY_HANDSHAKE_TIMEOUT = 15
_NO_COMPATIBLE_SECURITY, _NOT_IN_AUTHMODE_THRESHOLD, _NOT_IN_RSSI_THRESHOLD = 210, 211, 212
_ALWAYS_SHOWN = (STAT_NO_AP_FOUND, _NO_COMPATIBLE_SECURITY, _NOT_IN_AUTHMODE_THRESHOLD, _NOT_IN_RSSI_THRESHOLD)

_ATTEMPT_MS = 50  # on a board: 0.2 s to join, 2.4 s to find that nobody is there, 4 s to wait for a handshake
_LEAVE_MS = 10
_STATE_ERROR = "Wifi Internal State Error"


_names = {"hostname": "mpy-esp32", "country": "XX"}


def hostname(name=None):
    return _keep("hostname", name, 32)


def country(code=None):
    return _keep("country", code, 2)


def _keep(what, value, size_max):
    if value is None:
        return _names[what]
    if len(value) > size_max or (what == "country" and len(value) < size_max):
        raise ValueError("bad " + what)
    _names[what] = value
    return None


class WLAN:
    """The station, or the access point; one of each for the whole chip, however often it is asked for.

    The world's "wifi" is {name: password}, or {name: {...}} with "password" and, as wanted: "reasons", those of the
    first attempts, which fail; "wrong", the reasons that a wrong password gives, the last one for good; "address",
    False when nobody gives one; "away", [from, to], when it is switched off, counted in calls of `isconnected`, so that
    a slow machine changes nothing; "points", its access points as [BSSID in hex, signal in dBm], the first one heard
    first, of which a third member True says that it lets nobody in; "signal", where there is but one; "hidden", True
    when they do not tell its name; "bytes", its name in hex, where that is no text.

    What the access point's ports are on the desk: see tools/twin/ports.py."""

    IF_STA, IF_AP = STA_IF, AP_IF
    PM_NONE, PM_PERFORMANCE, PM_POWERSAVE = 0, 1, 2

    def __init__(self, interface=STA_IF):
        self._is_point = interface == AP_IF

    def active(self, on=None):
        if self._is_point:
            return _point.active(on)
        _station.advance()
        if on is not None:
            _station.start() if on else _station.stop()
        return _station.started

    def scan(self):
        _station.advance()
        if not _station.started:
            raise RuntimeError("STA must be active")
        if _station.is_busy():
            raise OSError(_STATE_ERROR)
        found = []
        for name in hardware.world["wifi"]:
            ssid = b"" if _access_point(name).get("hidden") else _bytes(name)
            security = AUTH_WPA2_PSK if _access_point(name)["password"] else AUTH_OPEN
            for point in _points(name):
                found.append((ssid, bytes.fromhex(point[0]), 6, point[1], security, not ssid))
        return found

    def connect(self, ssid=None, key=None, *, bssid=None):
        _station.advance()
        _station.connect(ssid, key, bssid)

    def disconnect(self):
        _station.advance()
        _station.disconnect()

    def isconnected(self):
        _station.looks += 1
        _station.advance()
        return _station.has_address

    def status(self, param=None):
        _station.advance()
        if param == "rssi":
            if not _station.joined:
                raise OSError("Wifi Not Connected")
            return _station.point()[1]
        if param is not None:
            raise ValueError("unknown status param")
        return _station.status()

    def config(self, *names, **values):
        if self._is_point:
            return _point.configure(values)
        _station.advance()
        if names:
            return _station.config[names[0]]
        for name in values:
            if name not in _station.config:
                raise ValueError("unknown config param")
        if _station.is_busy():
            raise OSError(_STATE_ERROR)
        _station.config.update(values)
        return None

    def ifconfig(self, address=None):
        if self._is_point:
            return ("192.168.4.1", "255.255.255.0", "192.168.4.1", "192.168.4.1")
        if address is None:
            return _station.address or ("127.0.0.1", "255.0.0.0", "127.0.0.1", "127.0.0.1")
        if address == "dhcp":
            if not _station.address:  # ESP_ERR_ESP_NETIF_DHCP_ALREADY_STARTED
                raise RuntimeError("Wifi Unknown Error 0x5003")
            _station.address = None
            return None
        if isinstance(address, str) or len(address) != 4:
            raise ValueError("invalid arguments")
        for part in address:
            if not isinstance(part, str):
                raise TypeError("can't convert to str implicitly")
            if len([number for number in part.split(".") if number.isdigit() and int(number) < 256]) != 4:
                raise ValueError("invalid arguments")
        _station.address = tuple(address)
        return None


class _Point:
    """The board's own network: on the air, until it is told otherwise, open and with a name of the chip's."""

    def __init__(self):
        self.on_air = False
        self._told = {"ssid": "ESP_000001", "key": "", "security": AUTH_OPEN, "max_clients": 4}

    def active(self, on):
        if on is not None:
            self.on_air = bool(on)
        return self.on_air

    def configure(self, values):
        if not self.on_air:
            raise OSError("Wifi Invalid Mode")
        for name in values:
            if name not in self._told:
                raise ValueError("unknown config param")
        told = dict(self._told)
        told.update(values)
        if told["security"] != AUTH_OPEN and not 8 <= len(told["key"]) <= 63:
            raise OSError("Wifi Invalid Password")
        self._told = told

    def name(self):
        return self._told["ssid"] if self.on_air else None

    def is_open(self):
        return self.on_air and self._told["security"] == AUTH_OPEN


class _Station:
    """The driver: events happen when somebody looks, at the time at which they were due."""

    def __init__(self):
        self.config = {"reconnects": -1, "pm": WLAN.PM_PERFORMANCE}
        self.started = self.joined = self.has_address = False
        self.address = None
        self.attempt = None  # (name, key), while it is under way
        self._network = None
        self._bssid = None
        self._requested = False
        self._reason = 0  # of the last disconnection: a later attempt does not forget it, only an address does
        self._lost = 0  # disconnections since `connect`, counted when reconnects are limited
        self._tries = {}
        self.looks = 0
        self._left_ms = None  # when the driver has given up what it was told to leave

    def start(self):
        if not self.started:
            self._lost = 0
        self.started = True

    def stop(self):
        if self.attempt or self.joined:
            self._reason = _ASSOC_LEAVE
        self.started = self.joined = self.has_address = False
        self.attempt = None
        self._left_ms = None

    def connect(self, ssid, key, bssid):
        if not self.started:
            raise OSError("Wifi Not Started")
        if self.is_busy():
            raise OSError(_STATE_ERROR)
        for text in (ssid, key):
            if text is not None and not isinstance(text, (str, bytes)):
                raise TypeError("can't convert to str implicitly")
        self._network = (_known(ssid), key)
        self._bssid = bssid
        self._lost = 0
        self._requested = True
        self._begin(time.ticks_ms())

    def disconnect(self):
        if not self.started:
            raise OSError("Wifi Not Started")
        self._requested = False
        if self.attempt or self.joined:
            self._reason = _ASSOC_LEAVE
            self._left_ms = time.ticks_add(time.ticks_ms(), _LEAVE_MS)
        self.attempt = None
        self.joined = self.has_address = False

    def is_busy(self):
        """Whether an attempt is under way or being given up, which the driver does in a task of its own."""
        if self._left_ms is not None and time.ticks_diff(self._left_ms, time.ticks_ms()) <= 0:
            self._left_ms = None
        return bool(self.attempt or self._left_ms is not None)

    def status(self):
        if self.has_address:
            return STAT_GOT_IP
        if self._reason in _ALWAYS_SHOWN:
            return self._reason
        if self._reason in (STAT_WRONG_PASSWORD, _CONNECTION_FAIL):
            return STAT_WRONG_PASSWORD
        if self._reason == _ASSOC_LEAVE:
            return STAT_IDLE
        if self._requested and self._tries_left():
            return STAT_CONNECTING
        return self._reason or STAT_IDLE

    def advance(self):
        """Let happen what was due until now."""
        while self.attempt and time.ticks_diff(time.ticks_ms(), self._due_ms) >= 0:
            name, _ = self.attempt
            self.attempt = None
            reason = self._refusal()
            if reason:
                self._disconnected(reason, self._due_ms)
                continue
            self.joined = True
            if self.address or _access_point(name).get("address", True):
                self.has_address = True
                self._reason = 0
        if self.joined and self.is_away(self._network[0]):
            self._disconnected(STAT_BEACON_TIMEOUT, time.ticks_ms())

    def _begin(self, now_ms):
        self.attempt = self._network
        self._due_ms = time.ticks_add(now_ms, _ATTEMPT_MS)

    def _disconnected(self, reason, now_ms):
        self._reason = reason
        self.joined = self.has_address = False
        if self._requested:
            if self.config["reconnects"] >= 0:
                self._lost += 1
            if self._tries_left():
                self._begin(now_ms)

    def _tries_left(self):
        return self.config["reconnects"] < 0 or self._lost < self.config["reconnects"] + 1

    def point(self):
        """The access point that is asked: the one with the BSSID, otherwise the first one heard; None without one."""
        for point in _points(self._network[0]):
            if self._bssid in (None, bytes.fromhex(point[0])):
                return point
        return None

    def _refusal(self):
        """Why the access point, or its absence, ends this attempt; 0 when it does not."""
        name, key = self._network
        if name not in hardware.world["wifi"] or self.is_away(name) or not self.point():
            return STAT_NO_AP_FOUND
        if self.point()[2:] == [True]:
            return STAT_ASSOC_FAIL
        point = _access_point(name)
        tried = self._tries[name] = self._tries.get(name, 0) + 1
        reasons = point.get("reasons", ())
        if tried <= len(reasons):
            return reasons[tried - 1]
        if point["password"] and not key:
            return _NO_COMPATIBLE_SECURITY
        if key and not point["password"]:
            return _NOT_IN_AUTHMODE_THRESHOLD
        if point["password"] and point["password"] != key:
            wrong = point.get("wrong", (_FOUR_WAY_HANDSHAKE_TIMEOUT, _CONNECTION_FAIL))
            return wrong[min(tried, len(wrong)) - 1]
        return 0

    def is_away(self, name):
        first, last = _access_point(name).get("away", (0, 0))
        return first <= self.looks < last


def _bytes(name):
    """A network's name as it is on the air."""
    named = _access_point(name).get("bytes")
    return bytes.fromhex(named) if named else name.encode()


def _known(ssid):
    """The world's name for a network."""
    ssid = ssid.encode() if isinstance(ssid, str) else ssid
    for name in hardware.world["wifi"]:
        if ssid == _bytes(name):
            return name
    return ssid


def _access_point(name):
    point = hardware.world["wifi"].get(name, {})
    return point if isinstance(point, dict) else {"password": point}


def _points(name):
    return _access_point(name).get("points", [["0a0000000001", _access_point(name).get("signal", -60)]])


def power_on():
    """Forget everything, as the radio of a board does that loses its power."""
    global _station, _point
    _station, _point = _Station(), _Point()


power_on()
