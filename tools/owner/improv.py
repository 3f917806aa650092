"""A client of Improv over serial (improv-wifi.com/serial), by which a board in its setup is given a network."""

import time
from dataclasses import dataclass

from tools.deploy.port import BoardError

_HEAD = b"IMPROV\x01"
_LENGTH_AT, _DATA_AT = 8, 9
_STATE, _ERROR, _COMMAND, _RESULT = 1, 2, 3, 4
_HAS_JOINED, _NOT_JOINED = 4, 3
_JOIN, _TELL_STATE, _TELL_DEVICE, _TELL_NETWORKS = 1, 2, 3, 4
_ANSWER_S, _JOIN_S, _AGAIN_S = 15, 90, 2
_BYTES_MAX = 255


@dataclass(frozen=True)
class Packet:
    """One packet of the board's."""

    kind: int
    data: bytes

    @property
    def texts(self) -> list[str]:
        """The texts of a result."""
        found, at = [], 2
        while at < len(self.data):
            end = at + 1 + self.data[at]
            found.append(self.data[at + 1 : end].decode(errors="replace"))
            at = end
        return found


@dataclass(frozen=True)
class Network:
    """A network that the board sees."""

    name: str
    signal_dbm: int
    is_open: bool


def encode(kind: int, data: bytes) -> bytes:
    """Return the packet of this kind with these data."""
    packet = _HEAD + bytes((kind, len(data))) + data
    return packet + bytes((sum(packet) & 0xFF,))


class Improv:
    """A board at an open `port` of pyserial's."""

    def __init__(self, port) -> None:
        self._port = port
        self._heard = b""

    def device(self) -> list[str]:
        """Wait for a board in its setup, and return what it says of itself: [product, release, chip, network's name].
        BoardError when none answers."""
        return self._ask(_TELL_DEVICE)[0].texts

    def networks(self) -> list[Network]:
        """The networks within the board's reach, the strongest first."""
        found = []
        for packet in self._ask(_TELL_NETWORKS, until=lambda packet: not packet.texts):
            if len(packet.texts) == 3:
                name, signal, locked = packet.texts
                found.append(Network(name, int(signal), locked == "NO"))
        return found

    def join(self, name: str, password: str) -> bool:
        """Have the board join this network; False when it could not."""
        texts = (name.encode(), password.encode())
        if max(map(len, texts)) > _BYTES_MAX // 4:
            return False
        data = b"".join(bytes((len(text),)) + text for text in texts)
        self._send(_JOIN, data)
        for packet in self._packets(_JOIN_S):
            if packet.kind == _RESULT and packet.data[0] == _JOIN:
                return True
            if packet.kind == _ERROR and packet.data[0]:
                return False
        raise BoardError("the board does not say whether it has joined: make console shows what it does")

    def _ask(self, command: int, until=lambda packet: True) -> list[Packet]:
        found: list[Packet] = []
        for _ in range(_ANSWER_S // _AGAIN_S):  # a board that has just started misses the first
            self._send(command, b"")
            for packet in self._packets(_AGAIN_S):
                if packet.kind == _RESULT and packet.data[0] == command:
                    found.append(packet)
                    if until(packet):
                        return found
        raise BoardError(
            "no board in its setup answers: hold the board's button for three seconds, or restart a fresh board"
        )

    def _send(self, command: int, data: bytes) -> None:
        self._port.write(encode(_COMMAND, bytes((command, len(data))) + data) + b"\n")

    def _packets(self, for_s: float):
        """Yield what the board sends within this time."""
        until_s = time.monotonic() + for_s
        while time.monotonic() < until_s:
            self._heard += self._port.read(max(self._port.in_waiting, 1))
            while (packet := self._next()) is not None:
                yield packet

    def _next(self) -> Packet | None:
        """Take the next whole packet out of what has been heard; what is none is dropped."""
        while True:
            at = self._heard.find(_HEAD)
            if at < 0:
                self._heard = self._heard[-len(_HEAD) :]
                return None
            packet = self._heard[at:]
            if len(packet) <= _LENGTH_AT or len(packet) < _DATA_AT + packet[_LENGTH_AT] + 1:
                return None
            end = _DATA_AT + packet[_LENGTH_AT]
            if sum(packet[:end]) & 0xFF != packet[end]:
                self._heard = packet[1:]
                continue
            self._heard = packet[end + 1 :]
            if end > _DATA_AT:
                return Packet(packet[_LENGTH_AT - 1], packet[_DATA_AT:end])
