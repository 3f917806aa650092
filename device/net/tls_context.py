"""Whom TLS trusts, and what it says of those whom it does not."""

import binascii
import gc
import time

import tls
from agent.errors import PermanentError, RetryableError
from agent.runner import run


def tls_context(host: str, ca: str):
    """Return a TLS context that trusts the certificates in the file `ca`, PEM or DER. PermanentError when there is
    none."""
    if not ca:
        raise PermanentError("no_ca", host)
    gc.collect()  # what Python has, TLS cannot get
    context = tls.SSLContext(tls.PROTOCOL_TLS_CLIENT)
    context.verify_mode = tls.CERT_REQUIRED  # type: ignore[attr-defined]
    count = 0
    text = b""
    try:
        with open(ca, "rb") as file:
            for line in file:
                if not text and line[:1] == b"\x30":  # DER; base64 of it would begin with M
                    context.load_verify_locations(line + file.read())
                    return context
                if b"-----END " in line:
                    context.load_verify_locations(binascii.a2b_base64(text))
                    count += 1
                text = b"" if b"-----" in line else text + line  # which may be indented, or begin with a BOM
        if count == 0:
            raise ValueError
    except (OSError, ValueError) as error:
        raise PermanentError("bad_ca", ca, run("agent.sentences", "reason", error))
    return context


_REFUSALS = {  # as mbedTLS words them
    "trusted": "unknown_ca",
    "match": "wrong_host",
    "expired": "cert_expired",
    "future": "cert_not_yet_valid",
}


def refusal(host: str, ca: str, error: BaseException) -> RetryableError:
    """Return the error for a server that has not proven who it is, by what TLS raised."""
    for words, code in _REFUSALS.items():
        if words in str(error):
            return RetryableError(code, host, ca, "{}-{:02}-{:02}".format(*time.localtime()))
    return RetryableError(
        "tls_failed",
        host,
        str(error).strip() if isinstance(error, ValueError) else run("agent.sentences", "reason", error),
    )
