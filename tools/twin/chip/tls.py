"""MicroPython's module `tls` for CPython, over OpenSSL: the same calls, the same answers, mbedTLS's sentences."""

import ssl

CERT_REQUIRED = ssl.CERT_REQUIRED
PROTOCOL_TLS_CLIENT = ssl.PROTOCOL_TLS_CLIENT

_SENTENCES = {
    "expired": "The certificate validity has expired",
    "not yet valid": "The certificate validity starts in the future",
    "mismatch": "The certificate Common Name (CN) does not match with the expected CN",
    "issuer": "The certificate is not correctly signed by the trusted CA",
    "self-signed": "The certificate is not correctly signed by the trusted CA",
}


class SSLContext(ssl.SSLContext):
    """A context whose certificates are DER, and whose sockets wait like MicroPython's."""

    sslsocket_class = None  # set below

    def load_verify_locations(self, cadata: bytes) -> None:
        try:
            super().load_verify_locations(cadata=cadata)
        except ssl.SSLError:
            raise ValueError("invalid cert") from None


class _Socket(ssl.SSLSocket):
    def readinto(self, view) -> "int | None":
        return _without_waiting(super().recv_into, view)

    def readline(self, size: int) -> "bytes | None":
        line = b""
        while len(line) < size and line[-1:] != b"\n":
            more = _without_waiting(super().recv, 1)
            if not more:
                return line or more
            line += more
        return line

    def write(self, view) -> "int | None":
        return _without_waiting(super().write, view)


SSLContext.sslsocket_class = _Socket


def _without_waiting(operation, what):
    """None for what would have to wait."""
    try:
        return operation(what)
    except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
        return None
    except ssl.SSLCertVerificationError as error:
        for words, sentence in _SENTENCES.items():
            if words in str(error):
                raise ValueError(sentence) from None
        raise
