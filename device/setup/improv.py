"""Improv over serial (improv-wifi.com/serial): the same setup from a browser or a terminal, over the console's cable.

A packet is "IMPROV", version 1, its kind, the length of its data, the data, and the sum of all that.
"""

import sys

from agent.runner import run
from board import access_point
from micropython import const

from . import JOINED, NOT_REGISTERED, TRYING

_HEAD = const(b"IMPROV\x01")
_LENGTH_AT = const(8)
_DATA_AT = const(9)
_QUIET_MAX = const(25)  # looks, half a second: the rest of a packet is lost

# Kinds of packets, states, errors, commands
_STATE = const(1)
_ERROR = const(2)
_COMMAND = const(3)
_RESULT = const(4)
_READY = const(2)
_JOINING = const(3)
_HAS_JOINED = const(4)
_NO_ERROR = const(0)
_BAD_PACKET = const(1)
_UNKNOWN_COMMAND = const(2)
_NOT_JOINED = const(3)
_JOIN = const(1)
_TELL_STATE = const(2)
_TELL_DEVICE = const(3)
_TELL_NETWORKS = const(4)


class Improv:
    """Answers on the console. The board tells it of each byte; in its packets there is Ctrl-C's as well."""

    def __init__(self, portal, address: str) -> None:
        self._portal = portal
        self._packet = b""
        self._quiet = 0
        self._is_joining = False
        portal.device.board.takes_key = self.take

    def look(self) -> None:
        """Tell how a try went."""
        if self._is_joining and not self._portal.wish and self._portal.outcome != TRYING:
            self._is_joining = False
            self._tell_outcome()
        self._quiet += 1
        if self._quiet > _QUIET_MAX:
            self._packet = b""

    def close(self) -> None:
        """Give the console back."""
        self._portal.device.board.takes_key = None

    def take(self, byte: bytes) -> bool:
        """Take the next byte if it belongs to a packet, and do what a packet asks for that is whole; False for a byte
        that belongs to none."""
        self._quiet = 0
        packet = self._packet + byte
        size = len(packet)
        if packet[: len(_HEAD)] != _HEAD[:size]:
            is_begin = byte == _HEAD[:1]
            self._packet = byte if is_begin else b""
            return is_begin
        self._packet = packet
        if size > _LENGTH_AT and size == _DATA_AT + packet[_LENGTH_AT] + 1:
            self._packet = b""
            try:
                data = packet[_DATA_AT + 2 : -1]
                if sum(packet[:-1]) & 0xFF != packet[-1] or packet[_DATA_AT + 1] != len(data):
                    raise ValueError
                if packet[len(_HEAD)] == _COMMAND:
                    self._obey(packet[_DATA_AT], data)
            except (ValueError, IndexError):
                self._send(_ERROR, bytes((_BAD_PACKET,)))
        return True

    def _obey(self, command: int, data: bytes) -> None:
        portal = self._portal
        self._send(_ERROR, bytes((_NO_ERROR,)))
        if command == _JOIN:
            password_at = 1 + data[0]
            end = password_at + 1 + data[password_at]
            if end != len(data):
                raise ValueError
            password = data[password_at + 1 :].decode()
            if run("setup.form", "choose", portal, data[1:password_at], password, portal.choice.name):
                self._is_joining = True
                self._send(_STATE, bytes((_JOINING,)))
            else:
                self._tell_outcome()
        elif command == _TELL_STATE:
            self._send(_STATE, bytes((_JOINING if self._is_joining else _READY,)))
        elif command == _TELL_DEVICE:
            settings = portal.device.settings
            self._answer(command, settings.product, settings.release or "", "ESP32", portal.network)
        elif command == _TELL_NETWORKS:
            portal.found = access_point.scan() or portal.found
            for found in portal.found:
                self._answer(command, found.name, str(found.signal_dbm), "NO" if found.is_open else "YES")
            self._answer(command)
        else:
            self._send(_ERROR, bytes((_UNKNOWN_COMMAND,)))

    def _tell_outcome(self) -> None:
        if self._portal.outcome in (JOINED, NOT_REGISTERED):
            self._send(_STATE, bytes((_HAS_JOINED,)))
            self._answer(_JOIN)
            self._portal.is_read = True
        else:
            self._send(_STATE, bytes((_READY,)))
            self._send(_ERROR, bytes((_NOT_JOINED,)))

    def _answer(self, command: int, *texts) -> None:
        data = b""
        for text in texts:
            text = text if isinstance(text, bytes) else text.encode()
            data += bytes((len(text),)) + text
        self._send(_RESULT, bytes((command, len(data))) + data)

    def _send(self, kind: int, data: bytes) -> None:
        packet = _HEAD + bytes((kind, len(data))) + data
        # On a line of its own: what else is printed ends with one.
        sys.stdout.buffer.write(b"\n" + packet + bytes((sum(packet) & 0xFF,)) + b"\n")
