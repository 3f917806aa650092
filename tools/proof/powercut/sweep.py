"""The stories, the cuts of each, and what became of them."""

from collections.abc import Iterator
from dataclasses import dataclass

from tools.proof.powercut import world
from tools.proof.powercut.rig import Rig, Run
from tools.proof.powercut.world import V1, V2, Server, Violation
from tools.twin.image import make_image

KINDS = ("clean", "torn", "last", "request")
STORIES = {
    "register": "factory state, the server knows its version already: activated, renamed, in step",
    "factory": "factory state: activated, renamed, updated, confirmed",
    "update": "in step with version 1: updated to 2, on trial, confirmed",
    "ranges": "the same over an older firmware, from a server with which a download goes on where it stopped",
    "dropped": "the same after somebody has activated the serial number elsewhere: activated again, updated, confirmed",
    "hang": "version 2 hangs: rolled back, given up",
    "crash": "version 2 crashes: rolled back, given up",
    "offline": "version 2 never reaches the server: rolled back, given up",
    "signed": "a device that asks for a signature, and a signed version 2: updated, on trial, confirmed",
    "unsigned": "the same device, and a version 2 that nobody has signed: never started, given up",
}

Cut = tuple[int, str]


@dataclass(frozen=True)
class Setting:
    """What a sweep is made for: the size of the images, and the seed of all that is random."""

    image_bytes: int = 20_000
    seed: int = 1


@dataclass
class Outcome:
    """What a run with `cuts` came to: `boots` it took, `operations` left after the last cut; `problem` if any."""

    story: str
    cuts: tuple[Cut, ...]
    boots: int
    operations: list[int]
    console: str
    problem: str | None


class Story:
    """One story's beginning, and how it must end."""

    def __init__(self, name: str, setting: Setting) -> None:
        self.name = name
        self._seed = setting.seed
        images = {V1: make_image(setting.seed, setting.image_bytes * 5 // 6)}
        images[V2] = make_image(setting.seed + 1, setting.image_bytes)
        config = {}
        if name in ("signed", "unsigned"):
            config["signing_keys"] = [world.signing_key()[1]]
        if name == "signed":
            images[V2] = world.sign(images[V2])
        self._memory = world.factory_fresh(images[V1], **config)
        self._server = Server(images, target=V1)
        self.ends_with = V1 if name == "register" else V2
        if name == "factory":
            self._server.target = V2
            return
        self._server.thing, self._server.name, self._server.current = "a" * 32, "Thermometer 1", V1
        if name == "register":
            return
        Rig(self._memory, self._server).run()  # now in step with version 1
        self._server.target = V2
        if name in ("ranges", "signed"):
            self._server.ranges = True
            older = make_image(setting.seed + 2, setting.image_bytes * 7 // 8)
            address = world.PLACES["ota_1"][0]
            self._memory[address : address + len(older)] = older
        elif name == "dropped":
            self._server.key = "another device's"
        elif name != "update":
            self._server.does[V2] = name
            self.ends_with = V1

    def run(self, cuts: tuple[Cut, ...] = (), on_operation=None) -> Outcome:
        """Play the story with these cuts, check what is left, and then that nothing is left to do."""
        memory, server = bytearray(self._memory), self._server.copy()
        rig = Rig(memory, server, cuts, self._seed)
        rig.on_operation = on_operation
        run = rig.run()
        problem = None
        try:
            world.check(memory, server, run, self.ends_with)
            again = Rig(memory, server, seed=self._seed).run()
            run.console += again.console
            self._check_nothing_left(again, memory, server)
        except Violation as violation:
            problem = str(violation)
        return Outcome(self.name, cuts, len(run.started), run.operations, run.console, problem)

    def requests(self) -> int:
        """How many calls the story makes without a cut."""
        return Rig(bytearray(self._memory), self._server.copy()).run().requests

    def _check_nothing_left(self, again: Run, memory: bytearray, server: Server) -> None:
        world.check(memory, server, again, self.ends_with)
        if again.operations != [0] or again.requests != 2:  # the target, and the temperature
            raise Violation(f"I7: in step, yet {again.operations[0]} flash operations, {again.requests} requests")


def first_cuts(story: Story) -> Iterator[Cut]:
    """Every flash operation in every way, and every call of the conversation."""
    for number in range(story.run().operations[0]):
        for kind in KINDS[:3]:
            yield number, kind
    for number in range(story.requests()):
        yield number, "request"
