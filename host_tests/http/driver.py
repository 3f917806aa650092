"""Calls servers as told, one JSON line per call, on either runtime: `driver.py ROOT CHIP DEVICE`.

A call is {"url", "method", "data", "headers", "read", "ca", "keep"}: `read` is "json", "body" or "none"; `keep` goes on
with the link of the call before. With "call", that function of `gadgetkeeper.provision` is called with "arguments",
for the thing in "record". With "product", that function of the product's `urequests` is called with "options". What
came out is a line of JSON, too.
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

from agent import loop  # noqa: E402, F401  as on a board: what it imports stays loaded
from agent.device import Device, Link  # noqa: E402
from agent.errors import AgentError, PermanentError  # noqa: E402
from agent.runner import run  # noqa: E402

_link = Link()


class _Board:
    """What a call needs of the board."""

    def feed(self):
        pass


def read_body(response):
    """How many bytes the body has, and a sum over them."""
    view = memoryview(bytearray(4096))
    size = total = 0
    while True:
        count = response.readinto(view)
        if count == 0:
            return [size, total]
        size += count
        total = (total + sum(view[:count])) & 0xFFFFFFFF


def call_gadgetkeeper(order):
    """What a call of the agent returns."""
    device = Device(_Board(), None, order["root"])
    device.link = _link
    device.settings.release = "7"
    device.settings.server, device.settings.ca, device.settings.signing_keys = order["url"], "", []
    device.settings.device_secret = order.get("device_secret", "")
    device.record.thing_id, device.record.api_key = order["record"]
    value = run("gadgetkeeper.provision", order["call"], device, *order.get("arguments", []))
    return {"value": value and [value.id, value.name]}


def call_for_product(order):
    """What a product gets of a response, by the way in which it reads it."""
    import urequests

    options = order.get("options", {})
    if "bytes" in options:
        options["data"] = bytes(options.pop("bytes"))
    if "pieces" in options:
        options["data"] = (piece for piece in options.pop("pieces"))
    if "auth" in options:
        options["auth"] = tuple(options["auth"])
    kept = dict(options.get("headers", {}))
    response = getattr(urequests, order["product"])(order["url"], **options)
    try:
        assert options.get("headers", {}) == kept, "the caller's headers were changed"
        result = {"status": response.status_code, "headers": response.headers}
        read = order.get("read", "text")
        if read == "text":
            assert response.text == response.text and response.text.encode() == response.content
            result["text"] = response.text
        elif read == "json":
            result["json"] = response.json()
            assert response.json() == result["json"]
        else:
            result["pieces"] = []
            while True:
                piece = response.raw.read(read)
                if not piece:
                    break
                result["pieces"].append(len(piece))
        return result
    finally:
        response.close()
        response.close()


def call(order):
    if not order.get("keep"):
        _link.close()
    result = {}
    response = None
    try:
        if "call" in order:
            return call_gadgetkeeper(order)
        if "product" in order:
            return call_for_product(order)
        data = order.get("data")
        response = run(
            "net.urequests",
            "request",
            order.get("method", "GET"),
            order["url"],
            data and data.encode(),
            order.get("headers"),
            order.get("ca", ""),
            _link,
        )
        result["status"] = response.status_code
        result["headers"] = response.headers
        result["bounded"] = response.bounded
        read = order.get("read", "json")
        if read == "json":
            result["json"] = run("net.content", "read_json", response)
        elif read == "body":
            result["body"] = read_body(response)
    except ValueError as error:
        result = {"refused": str(error)}
    except AgentError as error:
        result = {"code": error.code, "values": [str(value) for value in error.args[1:]]}
        result["permanent"] = isinstance(error, PermanentError)
    except Exception as error:
        text = io.StringIO()
        if hasattr(sys, "print_exception"):
            sys.print_exception(error, text)
        result = {"crash": text.getvalue() or repr(error)}
    finally:
        if response:
            response.close()
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
