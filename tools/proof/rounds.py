"""Whole rounds of the agent against a server whose firmware must not run, for the table in docs/what-it-refuses.md.

`play` prints, for each case in a file, what the console shows and what became of flash and record.
"""

import json

import gadgetkeeper.store
import gadgetkeeper.transport
import main
from gadgetkeeper import files
from gadgetkeeper.fingerprint import fingerprint
from gadgetkeeper.slots import Slots
from gadgetkeeper.store import keep

from tools.proof import scratch
from tools.proof.held import keep_modules
from tools.proof.reply import Reply, json_reply
from tools.twin import hardware
from tools.twin.image import make_image
from tools.twin.small_chip import SLOT_BYTES, power_on

keep_modules()

V1, BAD, GOOD = "1" * 32, "2" * 32, "3" * 32
ROUNDS = 5
FREE_SLOT = 0x20000
OLD = make_image(9, size_bytes=60000)


class Session:
    """A server that gives every firmware in the form the case asks for."""

    target = BAD
    bodies: dict  # version: firmware
    how: dict  # how the bad one is sent: arguments of Reply
    told: "dict | None" = None

    def __init__(self, ca):
        pass

    def request(self, method, url, data=None, headers=None):
        if url.endswith("/target.json"):
            return json_reply({"id": Session.target, "name": Session.target[:1]})
        if "/firmware" in url:
            how = Session.how if Session.target == BAD else {}
            return Reply(Session.bodies[Session.target], "application/octet-stream", **how)
        if url.endswith("/properties/status/value.json"):
            Session.told = json.loads(str(data, "utf-8"))
        return Reply(b"")

    def close(self):
        pass


def play(name="cases.json"):
    """Play the cases in this file of the scratch folder: {"case", "keys", "secure", "how", "bad", "good"} each, the
    latter two files with firmware."""
    own, gadgetkeeper.transport.Session = gadgetkeeper.transport.Session, Session
    try:
        with open(scratch.base + name) as cases:
            for case in json.load(cases):
                Session.bodies = {BAD: _read(case["bad"]), GOOD: _read(case["good"])}
                Session.how = case["how"]
                Session.target = BAD
                start("http://server", case["keys"], case["secure"])
                print(json.dumps({"case": case["case"]}))
                rounds(switch)
    finally:
        gadgetkeeper.transport.Session = own


def switch():
    """The vendor publishes a firmware that is as it should be."""
    Session.target = GOOD


def start(server, keys=(), secure=0):
    """A device that has been running version 1 for long."""
    Session.told = None
    partition = power_on(image=make_image(1, secure=secure))
    gadgetkeeper.store.root = scratch.folder()
    _write("serial.txt", "THERM00000000000001")
    settings = {"server": server, "signing_keys": list(keys), "start_spread_s": 0}
    _write("config.json", json.dumps(settings))
    hardware.flash.program(FREE_SLOT, OLD)
    slot = partition("ota_0")
    claim = {"versionId": V1, "confirmed": True, "slot": "ota_0", "image": fingerprint(slot)}
    keep({}, thingId="a" * 32, apiKey="b" * 32, renamed=True, **claim)


def rounds(heal):
    """Rounds of the agent until it has given the target up, or armed it, or does not seem to; then `heal` and one more.
    After each, a line of JSON tells whether the free slot was touched, what is armed, and what the record says."""
    for number in range(ROUNDS + 1):
        before = bytes(hardware.flash.read(FREE_SLOT, SLOT_BYTES))
        healed = number == ROUNDS or bool(files.record().get("quarantined"))
        if healed:
            heal()
        armed = False
        try:
            main.keep_in_step(None, None)
        except hardware.PowerLoss:  # the reset of a device that starts a new firmware
            armed = True
        slots = Slots(main.board.Partition)
        state = files.record()
        gave_up = state.get("quarantined") == BAD
        touched = hardware.flash.read(FREE_SLOT, SLOT_BYTES) != before
        seen = {"touched": touched, "chosen": slots.chosen().info()[4], "gave_up": gave_up, "healed": healed}
        seen["told"] = Session.told
        print(json.dumps(seen))
        if healed or armed:
            return


def _read(name):
    with open(scratch.base + name, "rb") as file:
        return file.read()


def _write(name, text):
    with open(gadgetkeeper.store.root + name, "w") as file:
        file.write(text)
