"""The stories, the cuts of each, and what became of them."""

import io
from collections.abc import Iterator
from dataclasses import dataclass

from tools.delta import maker
from tools.proof.powercut import owner, world
from tools.proof.powercut.rig import Rig, Run
from tools.proof.powercut.world import V1, V2, V3, Server, Violation
from tools.twin.files import read_files
from tools.twin.flash import Flash
from tools.twin.image import bundle_files, make_image

KINDS = ("clean", "torn", "last", "request")
STORIES = {
    "register": "factory state, the server knows its version already: activated, renamed, in step",
    "factory": "factory state: activated, renamed, updated, confirmed",
    "update": "in step with version 1: updated to 2, on trial, confirmed",
    "ranges": "the same over an older firmware, from a server with which a download goes on where it stopped",
    "switched": "the same with a version 3, over a download of version 2 that the power broke off",
    "delta": "the same, as a patch for version 1, which goes on at a block: updated to 2, on trial, confirmed",
    "dropped": "the same after somebody has activated the serial number elsewhere: activated again, updated, confirmed",
    "hang": "version 2 hangs: rolled back, given up",
    "crash": "version 2 never comes as far as boot.py: rolled back, given up at once",
    "dark": "the same with version 3, after a version 2 that hung: given up at once",
    "offline": "version 2 never reaches the server: rolled back, given up",
    "signed": "a device that asks for a signature, and a signed version 2: updated, on trial, confirmed",
    "unsigned": "the same device, and a version 2 that nobody has signed: never started, given up",
    "foreign": "the same device, and a version 2 that somebody else has signed: never started, given up",
    "damaged": "the same device, and a version 2 whose signature is damaged: never started, given up after three tries",
    "bundle": "version 2 holds another release's manifest: never started, given up",
    "trust": "a signed version 2 brings another server and another key: updated, on trial there, confirmed there",
    "retired": "after that, a version 3 that is signed with the old key: never started, given up",
    "left": "version 2 crashes at every start after its trial: left for version 1, while the server is away, given up",
    "setup": "factory state without a network: opens its own, given its owner's, activated, renamed, in step",
    "sold": "in use by one owner: told by its button to forget, given the next one's network, activated again, in step",
}
_OWNED = ("setup", "sold")
_SIGNED = ("signed", "unsigned", "foreign", "damaged", "trust", "retired")
_BLOCK_BYTES = 8192  # of a patch
_IN_DOWNLOAD = 20  # flash operations after the power-on
_DOES = {"left": "decay", "dark": "hang"}

Cut = tuple[int, str]


@dataclass(frozen=True)
class Setting:
    """What a sweep is made for: the size of the images, and the seed of all that is random."""

    image_bytes: int = 20_000
    seed: int = 1


@dataclass
class Outcome:
    """What a run with `cuts` came to: `boots` it took, `operations` left after the last cut; `problem` if any;
    `slot_states` are how often a slot was looked at: after each operation in one."""

    story: str
    cuts: tuple[Cut, ...]
    boots: int
    operations: list[int]
    console: str
    problem: str | None
    slot_states: int = 0


class Story:
    """One story's beginning, and how it must end."""

    def __init__(self, name: str, setting: Setting) -> None:
        self.name = name
        self._setting = setting
        images = {V1: self._release(1, 5 / 6), V2: self._release(2)}
        config: dict = {}
        if name in _SIGNED:
            config["signing_keys"] = [world.signing_key("vendor")[1]]
            images[V1], images[V2] = world.sign(images[V1], "vendor"), self._signed(name, images[V2])
        if name == "bundle":  # sound, and signed if need be, but with another release's manifest
            images[V2] = self._release(2, files=bundle_files(3))
        if name in _OWNED:
            config["setup_password"] = owner.LABEL_PASSWORD
        self._owner = owner.Owner("home", "password-of-the-house") if name in _OWNED else None
        self._server = Server(images, target=V1)
        self._memory = world.factory_fresh(images[V1], **config)
        self.begins_with, self.ends_with = V1, V1 if name in ("register", *_OWNED) else V2
        if name == "factory":
            self._server.target = V2
            return
        self._server.thing, self._server.name, self._server.current = "a" * 32, "Thermometer 1", V1
        if name in ("register", "setup"):
            return
        if name == "sold":
            Rig(self._memory, self._server, owner=owner.Owner("first", "password-of-the-first", "Kitchen")).run()
            return
        Rig(self._memory, self._server).run()  # now in step with version 1
        self._server.target = V2
        if name == "delta":
            patch = maker.make_patch(images[V1], images[V2], block_bytes=_BLOCK_BYTES)
            if patch is None:
                raise Violation(f"a patch of these images is no smaller than {len(images[V2])} bytes")
            self._server.patch, self._server.patch_base = patch, images[V1][-32:-16].hex()
        if name in ("ranges", "signed", "delta"):
            self._server.ranges = True
            older = self._release(0, 7 / 8)
            images["0" * 32] = older = world.sign(older, "vendor") if name in _SIGNED else older
            address = world.PLACES["ota_1"][0]
            self._memory[address : address + len(older)] = older
        elif name == "dropped":
            self._server.key = "another device's"
        elif name in ("trust", "retired"):
            self._server.homes[V2] = "http://new"
        elif name not in ("update", "switched"):
            self._server.does[V2] = _DOES.get(name, name)
            self.ends_with = V1
        if name == "switched":
            self._server.ranges = True
            Rig(self._memory, self._server, ((_IN_DOWNLOAD, "clean"),)).run(boots_max=1)
            images[V3], self._server.target, self.ends_with = self._release(3), V3, V3
        if name in ("retired", "dark"):  # version 2 was another story, this one is version 3's
            Rig(self._memory, self._server).run()
            images[V3] = self._release(3)
            self._server.does = {V3: "crash"}
            self._server.properties.clear()
            self._server.phases.clear()
            self._server.target = V3
        if name == "retired":
            images[V3] = world.sign(images[V3], "vendor")
            self._server.does = {V3: "foreign"}
            self.begins_with = V2

    def _release(self, number: int, share: float = 1, **how) -> bytes:
        size_bytes = int(self._setting.image_bytes * share)
        if self.name in ("trust", "retired") and number == 2:
            keys = [world.signing_key("new")[1]]
            how["files"] = bundle_files(2, settings={"server": "http://new", "signing_keys": keys})
        # A patch is of use where the next release is much like the one before.
        seed = self._setting.seed + (min(number, 1) if self.name == "delta" else number)
        return make_image(seed, size_bytes, release=number, **how)

    def _signed(self, name: str, image: bytes) -> bytes:
        """A version 2 as this story wants it signed."""
        if name == "unsigned":
            return image
        signed = world.sign(image, "somebody" if name == "foreign" else "vendor")
        if name == "damaged":  # a bit of the signature alone, so that the chip would start it
            at = len(signed) - 4096 + 1000
            signed = signed[:at] + bytes([signed[at] ^ 1]) + signed[at + 1 :]
        return signed

    def run(self, cuts: tuple[Cut, ...] = (), on_operation=None) -> Outcome:
        """Play the story with these cuts, check what is left, and then that nothing is left to do."""
        memory, server = bytearray(self._memory), self._server.copy()
        rig = Rig(memory, server, cuts, self._setting.seed, self._owner)
        rig.on_operation = on_operation
        run = rig.run()
        problem = None
        try:
            self._check(memory, server, run)
            ends_with = str(run.versions[-1])  # a published one, that has been checked
            again = Rig(memory, server, seed=self._setting.seed, owner=self._owner).run()
            again.untraced = run.untraced
            run.console += again.console
            self._check_nothing_left(again, memory, server, ends_with)
        except Violation as violation:
            problem = str(violation)
        return Outcome(self.name, cuts, len(run.started), run.operations, run.console, problem, run.slots.states)

    def _check(self, memory: bytearray, server: Server, run: Run) -> None:
        world.check(memory, server, run, self.begins_with, self.ends_with)
        if server.patch and not server.patches_given:
            raise Violation("the device has not asked for the patch")
        if self._owner:
            was, now = (read_files(Flash(io.BytesIO(content))) for content in (self._memory, memory))
            self._owner.check(now, was["/config.json"])

    def requests(self) -> int:
        """How many calls the story makes without a cut."""
        rig = Rig(bytearray(self._memory), self._server.copy(), seed=self._setting.seed, owner=self._owner)
        return rig.run().requests

    def _check_nothing_left(self, again: Run, memory: bytearray, server: Server, ends_with: str) -> None:
        world.check(memory, server, again, ends_with, ends_with)
        most = 2 if server.current else 3  # the target, and the temperature; which version it is, while nobody knows
        if again.operations != [0] or again.requests > most:
            raise Violation(f"I7: in step, yet {again.operations[0]} flash operations, {again.requests} requests")


def first_cuts(story: Story) -> Iterator[Cut]:
    """Every flash operation in every way, and every call of the conversation."""
    for number in range(story.run().operations[0]):
        for kind in KINDS[:3]:
            yield number, kind
    for number in range(story.requests()):
        yield number, "request"
