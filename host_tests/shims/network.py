"""`network` on the virtual chip: the networks of its world, over which the desk's own network is reached."""

import time

import chip

STA_IF, AP_IF = 0, 1
STAT_IDLE, STAT_CONNECTING, STAT_GOT_IP = 1000, 1001, 1010
STAT_NO_AP_FOUND, STAT_WRONG_PASSWORD = 201, 202

_JOIN_MS = 50


class WLAN:
    """The station; one for the whole chip, however often it is asked for."""

    _active = False
    _status = STAT_IDLE
    _joined_ms = None

    def __init__(self, interface=STA_IF):
        pass

    def active(self, on=None):
        if on is not None:
            WLAN._active = on
        return WLAN._active

    def connect(self, ssid, key=None):
        if not WLAN._active:
            raise OSError("Wifi Not Started")
        known = chip.world["wifi"]
        if ssid not in known:
            WLAN._status = STAT_NO_AP_FOUND
        elif known[ssid] and known[ssid] != key:
            WLAN._status = STAT_WRONG_PASSWORD
        else:
            WLAN._status = STAT_CONNECTING
            WLAN._joined_ms = time.ticks_add(time.ticks_ms(), _JOIN_MS)

    def disconnect(self):
        WLAN._status = STAT_IDLE

    def status(self, param=None):
        if WLAN._status == STAT_CONNECTING and time.ticks_diff(time.ticks_ms(), WLAN._joined_ms) >= 0:
            WLAN._status = STAT_GOT_IP
        return WLAN._status

    def isconnected(self):
        return self.status() == STAT_GOT_IP

    def config(self, *names, **values):
        return None

    def ifconfig(self):
        return ("127.0.0.1", "255.0.0.0", "127.0.0.1", "127.0.0.1")
