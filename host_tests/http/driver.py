"""Calls servers as told, one JSON line per call, on either runtime: `driver.py ROOT CHIP DEVICE [own]`.

A call is {"url", "method", "data", "headers", "read", "ca", "keep"}: `read` is "json", "body" or "none"; `keep` goes on
with the session of the call before. With "api", that method of `Api` is called, with "arguments", for the thing in
"state". What came out is a line of JSON, too. With "own", http:// does without urequests.
"""

import sys

sys.path[0:1] = sys.argv[1:4]

import gc  # noqa: E402
import io  # noqa: E402
import json  # noqa: E402
import time  # noqa: E402

if not hasattr(time, "ticks_ms"):
    from tools.twin import cpython_time

    cpython_time.install()
elif sys.argv[4:] != ["own"]:
    import requests

    sys.modules["urequests"] = requests

from gadgetkeeper.api import Api  # noqa: E402
from gadgetkeeper.errors import AgentError, FinalError  # noqa: E402
from gadgetkeeper.transport import Session  # noqa: E402

_session = Session()


def read_body(reply):
    """How many bytes the body has, and a sum over them."""
    view = memoryview(bytearray(4096))
    size = total = 0
    while True:
        count = reply.readinto(view)
        if count == 0:
            return [size, total]
        size += count
        total = (total + sum(view[:count])) & 0xFFFFFFFF


def call(order):
    global _session
    if not order.get("keep"):
        _session.close()
        _session = Session(order.get("ca", ""))
    result = {}
    reply = None
    try:
        if "api" in order:
            api = Api(order["url"], _session, order["state"])
            return {"value": getattr(api, order["api"])(*order.get("arguments", []))}
        data = order.get("data")
        reply = _session.request(
            order.get("method", "GET"), order["url"], data=data and data.encode(), headers=order.get("headers")
        )
        result["status"] = reply.status_code
        result["headers"] = reply.headers
        result["bounded"] = reply.bounded
        read = order.get("read", "json")
        if read == "json":
            result["json"] = reply.json()
        elif read == "body":
            result["body"] = read_body(reply)
    except AgentError as error:
        result = {"code": error.code, "values": [str(value) for value in error.args[1:]]}
        result["final"] = isinstance(error, FinalError)
    except Exception as error:
        text = io.StringIO()
        if hasattr(sys, "print_exception"):
            sys.print_exception(error, text)
        result = {"crash": text.getvalue() or repr(error)}
    finally:
        if reply:
            reply.close()
    return result


for _line in sys.stdin:
    if not _line.strip():
        break
    _result = call(json.loads(_line))
    gc.collect()
    if hasattr(gc, "mem_alloc"):
        _result["allocated"] = gc.mem_alloc()
    print(json.dumps(_result))
    if hasattr(sys.stdout, "flush"):
        sys.stdout.flush()
