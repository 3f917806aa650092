"""A DNS server for which every name is the board: phones look for a known one, and so come to the page."""

import socket

from micropython import const

_PORT = const(53)
_QUERY_MAX_BYTES = const(512)
_HEAD_BYTES = const(12)
_LABEL_MAX_BYTES = const(63)
_A_IN = const(b"\x00\x01\x00\x01")  # an IPv4 address, in the internet


class Names:
    """Answers on port 53."""

    def __init__(self, portal, address: str) -> None:
        self._address = bytes(int(part) for part in address.split("."))
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(socket.getaddrinfo("0.0.0.0", _PORT)[0][-1])
        self._socket.setblocking(False)

    def look(self) -> None:
        """Answer one query, if one has come."""
        try:
            query, sender = self._socket.recvfrom(_QUERY_MAX_BYTES)
            reply = answer(query, self._address)
            if reply:
                self._socket.sendto(reply, sender)
        except OSError:  # none has come, or nobody takes the answer
            pass

    def close(self) -> None:
        """Close the port."""
        self._socket.close()


def answer(query: bytes, address: bytes) -> "bytes | None":
    """Return the answer to a query, see RFC 1035: the address, or none of another kind. None for what is no query for
    one name."""
    end = _HEAD_BYTES
    if len(query) < end or query[2] & 0xF8 or query[4:6] != b"\x00\x01":
        return None
    while end < len(query) and query[end]:
        if query[end] > _LABEL_MAX_BYTES:
            return None
        end += 1 + query[end]
    end += 5
    if end > len(query):
        return None
    found = query[end - 4 : end] == _A_IN
    head = query[:2] + bytes((0x84 | query[2] & 1, 0x80, 0, 1, 0, found, 0, 0, 0, 0))
    # A pointer to the name in the question, kind and class, 0 seconds to keep it, four bytes of address
    record = b"\xc0\x0c" + _A_IN + b"\x00\x00\x00\x00\x00\x04" + address
    return head + query[_HEAD_BYTES:end] + (record if found else b"")
