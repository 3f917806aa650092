"""Whole rounds of the agent against a server whose firmware must not run, for the table in docs/what-it-refuses.md.

`play` prints, for each case in a file, what the console shows and what became of flash and record.
"""

import json

from agent.console import Console
from agent.device import Device
from agent.loop import keep_in_step
from agent.record import Record
from agent.record_reader import read_record
from board import Board
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


class Server:
    """A server in this process, see `in_process.serve`: `bodies` are its firmwares by version, and `how` is how the bad
    one is sent, arguments of Reply. `told` is what it has heard of the last update."""

    def __init__(self, bodies, how):
        self.target = BAD
        self.bodies = bodies
        self.how = how
        self.told = None

    def answer(self, method, url, data, headers):
        """Answer one request."""
        if url.endswith("/target.json"):
            return json_reply({"id": self.target, "name": self.target[:1]})
        if "/firmware" in url:
            how = self.how if self.target == BAD else {}
            return Reply(self.bodies[self.target], "application/octet-stream", **how)
        if url.endswith("/properties/status/value.json"):
            self.told = json.loads(str(data, "utf-8"))
        return Reply(b"")

    def heal(self):
        """The vendor publishes a firmware that is as it should be."""
        self.target = GOOD


class QuickBoard(Board):
    """A board on the virtual chip that sleeps for no time."""

    def wait(self, duration_ms):
        """Feed the watchdog."""
        self.feed()


def play(name="cases.json"):
    """Play the cases in this file of the scratch folder: {"case", "keys", "secure", "how", "bad", "good"} each, the
    latter two files with firmware."""
    with open(scratch.base + name) as cases:
        listed = json.load(cases)
    for case in listed:
        server = Server({BAD: _read(case["bad"]), GOOD: _read(case["good"])}, case["how"])
        device = start("http://server", case["keys"], case["secure"])
        print(json.dumps({"case": case["case"]}))
        in_process.serve(server.answer)
        try:
            rounds(device, server)
        finally:
            in_process.stop()


def start(server_url, keys=(), secure=0):
    """Return a device that has been running version 1 for long."""
    partition = power_on(image=make_image(1, secure=secure))
    root = scratch.folder()
    _write(root + "serial.txt", "THERM00000000000001")
    settings = {"server": server_url, "signing_keys": list(keys), "start_spread_s": 0}
    _write(root + "config.json", json.dumps(settings))
    hardware.flash.program(FREE_SLOT, OLD)
    running = Slots(partition).what_runs()
    Record(root).save(
        thing_id="a" * 32,
        api_key="b" * 32,
        server=server_url,
        signed=bool(keys),
        renamed=True,
        version_id=V1,
        confirmed=True,
        floor=1,
        slot=running.slot,
        image=running.image,
    )
    return Device(QuickBoard(), Console(), root, root + "release/")


def rounds(device, server):
    """Rounds of the agent until it has given the target up, or armed it, or does not seem to; then the `server` heals,
    and one more. After each, a line of JSON tells whether the free slot was touched, what is armed, what the record
    says, and what the server was told."""
    for number in range(ROUNDS + 1):
        before = bytes(hardware.flash.read(FREE_SLOT, SLOT_BYTES))
        healed = number == ROUNDS or bool(read_record(device.root).quarantined)
        if healed:
            server.heal()
        armed = False
        try:
            keep_in_step(device)
        except hardware.PowerLoss:  # the reset of a device that starts a new firmware
            armed = True
        touched = hardware.flash.read(FREE_SLOT, SLOT_BYTES) != before
        seen = {"touched": touched, "chosen": Slots(device.board.Partition).chosen().label, "healed": healed}
        seen["gave_up"] = read_record(device.root).quarantined == BAD
        seen["told"] = server.told
        print(json.dumps(seen))
        if healed or armed:
            return


def _read(name):
    with open(scratch.base + name, "rb") as file:
        return file.read()


def _write(path, text):
    with open(path, "w") as file:
        file.write(text)
