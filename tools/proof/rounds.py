"""Whole rounds of the agent against a server whose firmware must not run, for the table in docs/what-it-refuses.md.

`play` prints, for each case in a file, what the console shows and what became of flash and record.
"""

import json

from agent import loop
from agent.device import Device
from agent.record_reader import read_record
from board import Board
from ota.slot import Slot
from ota.slots import Slots

from tools.proof import in_process, scratch
from tools.proof.reply import Reply, json_reply
from tools.twin import hardware
from tools.twin.image import make_image
from tools.twin.small_chip import SLOT_BYTES, power_on

V1, BAD, GOOD = "1" * 32, "2" * 32, "3" * 32
ROUNDS = 5
FREE_SLOT = 0x20000
OLD = make_image(9, size_bytes=60000)


class Vendor:
    """A server that gives every firmware in the form the case asks for; `told` is the outcome it has heard last."""

    target = BAD
    bodies: dict  # version: firmware
    how: dict  # how the bad one is sent: arguments of Reply
    told: "dict | None" = None

    @staticmethod
    def answer(method, url, data, headers):
        """Answer one request."""
        if url.endswith("/target.json"):
            return json_reply({"id": Vendor.target, "name": Vendor.target[:1]})
        if "/firmware" in url:
            how = Vendor.how if Vendor.target == BAD else {}
            return Reply(Vendor.bodies[Vendor.target], "application/octet-stream", **how)
        if url.endswith("/properties/status/value.json"):
            Vendor.told = json.loads(str(data, "utf-8"))
        return Reply(b"")


def play(name="cases.json"):
    """Play the cases in this file of the scratch folder: {"case", "keys", "secure", "how", "bad", "good"} each, the
    latter two files with firmware."""
    in_process.serve(Vendor.answer)
    try:
        with open(scratch.base + name) as cases:
            for case in json.load(cases):
                Vendor.bodies = {BAD: _read(case["bad"]), GOOD: _read(case["good"])}
                Vendor.how = case["how"]
                Vendor.target = BAD
                device = start("http://server", case["keys"], case["secure"])
                print(json.dumps({"case": case["case"]}))
                rounds(device, switch)
    finally:
        in_process.stop()


def switch():
    """The vendor publishes a firmware that is as it should be."""
    Vendor.target = GOOD


def start(server, keys=(), secure=0):
    """Return a device that has been running version 1 for long."""
    Vendor.told = None
    partition = power_on(image=make_image(1, secure=secure))
    root = scratch.folder()
    _write(root + "serial.txt", "THERM00000000000001")
    settings = {"server": server, "signing_keys": list(keys), "start_spread_s": 0}
    _write(root + "config.json", json.dumps(settings))
    hardware.flash.program(FREE_SLOT, OLD)
    device = Device(Board(), loop.Console(), root, root + "release/")
    device.record.save(
        thing_id="a" * 32,
        api_key="b" * 32,
        server=server,
        signed=bool(keys),
        renamed=True,
        version_id=V1,
        confirmed=True,
        slot="ota_0",
        image=Slot(partition("ota_0")).fingerprint(),
    )
    return device


def rounds(device, heal):
    """Rounds of the agent until it has given the target up, or armed it, or does not seem to; then `heal` and one more.
    After each, a line of JSON tells whether the free slot was touched, what is armed, and what the record says."""
    for number in range(ROUNDS + 1):
        before = bytes(hardware.flash.read(FREE_SLOT, SLOT_BYTES))
        healed = number == ROUNDS or bool(read_record(device.root).quarantined)
        if healed:
            heal()
        armed = False
        try:
            loop.keep_in_step(device)
        except hardware.PowerLoss:  # the reset of a device that starts a new firmware
            armed = True
        gave_up = read_record(device.root).quarantined == BAD
        touched = hardware.flash.read(FREE_SLOT, SLOT_BYTES) != before
        chosen = Slots(device.board.Partition).chosen().label
        print(
            json.dumps(
                {"touched": touched, "chosen": chosen, "gave_up": gave_up, "healed": healed, "told": Vendor.told}
            )
        )
        if healed or armed:
            return


def _read(name):
    with open(scratch.base + name, "rb") as file:
        return file.read()


def _write(path, text):
    with open(path, "w") as file:
        file.write(text)
