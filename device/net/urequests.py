"""HTTP/1.1 requests, with urequests' interface: verified TLS, limits of time and size, no redirects.

Stock urequests waits for ever for a server that sends a byte now and then, verifies no certificate, and follows a
redirect with every header, the API key included.
"""

from agent.errors import AgentError
from agent.runner import run


def request(method: str, url: str, data: "bytes | None" = None, headers: "dict | None" = None, ca="", link=None):
    """Send one request, and return its `response.Response`: the head has been read, the body not. The caller closes it.

    `ca` is the file with the certificates that an https server is trusted by; `link` keeps the connection for the next
    request. RetryableError when the server cannot be reached, cannot be verified, redirects, or does not answer as it
    should; PermanentError for a bad address, and for https without `ca`."""
    try:
        while True:
            kept = link and link.raw
            raw = run("net.sender", "send_request", method, url, data, headers or {}, ca, link)
            # Only now: while a connection is opened, the memory is TLS's.
            from .response import Response

            response = Response(raw, link if url.startswith("https") else None)
            try:
                run("net.head", "read_head", response)
                break
            except BaseException:
                raw.close()
                # A server may close a kept connection at any time: what it has not begun to answer is sent once more.
                if raw is not kept or response.begun:
                    raise
    except AgentError:
        raise
    except Exception as error:  # whatever sockets and TLS stumble over
        raise run("net.sender", "unreachable", url, error)
    if 300 <= response.status_code < 400:
        # The API key and the serial number go nowhere else.
        response.close()
        raise run("net.sender", "redirected", url)
    return response
