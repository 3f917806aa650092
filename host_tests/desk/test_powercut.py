"""A sample of `make powercut`, and that it notices what it is there for."""

import ast
import io
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tools.proof.mutants import __main__ as mutants
from tools.proof.mutants.__main__ import MUTANTS
from tools.proof.powercut import watch, world
from tools.proof.powercut.world import V1, V2, Server, Violation
from tools.twin import otadata
from tools.twin.flash import Flash
from tools.twin.image import make_image
from tools.twin.paths import DEVICE


def powercut(*arguments):
    command = [sys.executable, "-m", "tools.proof.powercut", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("seed", ["7", "8"])
def test_power_cut_at_sampled_operations_loses_nothing(seed):
    done = powercut("--sample", "8", "--pairs", "60", "--seed", seed, "--image-bytes", "13000", "--jobs", "1")
    assert done.returncode == 0, done.stdout


@pytest.mark.vm
def test_power_cut_on_the_vm_loses_nothing():
    done = powercut("--story", "update", "--sample", "1", "--pairs", "1", "--vm", "10", "--jobs", "1")
    assert done.returncode == 0, done.stdout
    assert "on the VM" in done.stdout


def test_replay_shows_the_console_of_one_cut():
    done = powercut("--story", "update", "--cut", "12:torn", "--cut", "3:clean")
    assert done.returncode == 0 and done.stdout.count("-- power cut\n") == 2, done.stdout
    assert "in step with version 2" in done.stdout


def test_violation_is_status_1_and_says_how_to_play_that_cut_again(tmp_path):
    mutant = next(mutant for mutant in MUTANTS if mutant.mistake == "the new version's Id is stored before its trial")
    device = mutants.copy_with(mutant, tmp_path)
    setting = ["--seed", "3", "--image-bytes", "7000", "--device", str(device)]
    done = powercut("--story", "update", "--pairs", "1", "--jobs", "1", *setting)
    assert done.returncode == 1, done.stdout
    cut = re.search(r'make powercut STORY=update CUT="(\d+:\w+)" SEED=3 IMAGE_BYTES=7000\n', done.stdout)[1]
    again = powercut("--story", "update", "--cut", cut, *setting)
    assert again.returncode == 1 and "-- power cut\n" in again.stdout
    assert again.stdout.splitlines()[-1].startswith("violated: "), again.stdout


@pytest.mark.parametrize(
    "arguments",
    [["--cut", "5:torn"], ["--cut", "x:torn", "--story", "update"], ["--image-bytes", "1"], ["--story", "x"]],
)
def test_wrong_arguments_are_one_line_and_status_2(arguments):
    done = powercut(*arguments)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1, done.stderr


@pytest.mark.parametrize("module", [world, watch])
def test_oracle_never_asks_the_agents_own_code(module):
    own = {path.stem for path in DEVICE.rglob("*.py")} | {"gadgetkeeper"}
    tree = ast.parse(Path(module.__file__).read_text())
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    imported |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert "tools.twin.flash" in imported and not {name.split(".")[0] for name in imported} & own
    loaded = f"import sys, {module.__name__}; print(*(getattr(m, '__file__', '') for m in sys.modules.values()))"
    done = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    assert str(DEVICE) not in done.stdout


class Seen:
    """What a run of the rig has shown."""

    def __init__(self, running="ota_0", quiet=True, versions=(V1,), hosts=((V1, world.HOME),), untraced=(), slot=None):
        self.quiet, self.started, self.versions = quiet, ["ota_0", running], list(versions)
        self.hosts, self.untraced, self.unknowable = set(hosts), list(untraced), 0
        self.slots = watch.Watch(None)
        self.slots.problem = slot


def test_oracle_sees_each_violation():
    images = {V1: make_image(1, 9000), V2: make_image(2, 9000)}

    def verdict(state, target=V1, current=V1, damage=None, told=None, does=None, files=None, name=None, **seen):
        memory = world.factory_fresh(images[V1])
        address, size = world.PLACES["vfs"]
        files = {"/serial.txt": world.SERIAL.encode() + b"\n", "/state.json": state, **(files or {})}
        memory[address : address + size] = world.factory.file_system(files, size)
        if damage is not None:
            memory[damage] ^= 1
        known = {"thing": "a", "key": "k", "name": name or "ThermometerDevice", "does": does or {}}
        server = Server(images, target, current=current, **known)
        if told:
            server.properties["status"] = told
        try:
            world.check(memory, server, Seen(**seen), V1, V1 if target == V1 or does else V2)
        except Violation as violation:
            return str(violation)
        return "fine"

    def given_up(code, phase="given up"):
        return {"phase": phase, "versionId": V2, "attempt": 1, "code": code}

    good = b'{"thingId": "a", "apiKey": "k", "versionId": "%s"}' % V1.encode()
    failed = {"target": V2, "does": {V2: "hang"}, "told": given_up("rolled_back")}
    assert verdict(good) == "fine" and verdict(good, **failed) == "fine"
    assert verdict(good, quiet=False).startswith("I1")
    assert verdict(good.replace(V1.encode(), V2.encode())).startswith("I2")
    assert verdict(good, damage=0x10000 + 5000).startswith("I3")
    assert verdict(good, running="ota_1").startswith("I3")
    assert verdict(good, current=V2).startswith("I6")
    assert verdict(good, target=V2, current=V2).startswith("I6")
    assert verdict(good, versions=[V1, None]).startswith("I3")
    assert verdict(good, slot="ota_1 could be started, and holds what was not checked").startswith("I3")
    assert verdict(good, hosts=[(V1, "http://new")]).startswith("I9")
    assert verdict(good, files={"/left.txt": b"ota_1"}) != "fine"
    assert verdict(good, name="Thermometer 1") != "fine"
    assert verdict(good.replace(b'"k"', b'"old"')) != "fine"
    for what in world.REFUSED:
        refused = {**failed, "does": {V2: what}}
        assert verdict(good, **refused) == "fine" and verdict(good, **refused, versions=[V2, V1]).startswith("I3")
    assert verdict(good, **failed, versions=[V2] * 3) == "fine"
    assert verdict(good, **failed, versions=[V2] * 4).startswith("I3")
    assert verdict(good, **{**failed, "current": V2}).startswith("I6")
    assert verdict(good, **{**failed, "told": None}).startswith("I6")
    dark = {**failed, "does": {V2: "crash"}, "told": given_up("never_started")}
    assert verdict(good, **dark, versions=[V2, V1]) == "fine"
    assert verdict(good, **dark, versions=[V2, V1, V2, V1]).startswith("I3")


def test_oracle_lets_a_sound_release_go_only_for_a_cut_before_boot_py_has_left_its_trace():
    images = {V1: make_image(1, 9000), V2: make_image(2, 9000)}

    def verdict(untraced, code="never_started", phase="given up"):
        memory = world.factory_fresh(images[V1])
        address, size = world.PLACES["vfs"]
        state = b'{"thingId": "a", "apiKey": "k", "versionId": "%s"}' % V1.encode()
        files = {"/serial.txt": world.SERIAL.encode() + b"\n", "/state.json": state}
        memory[address : address + size] = world.factory.file_system(files, size)
        server = Server(images, V2, current=V1, thing="a", key="k", name="ThermometerDevice")
        server.properties["status"] = {"phase": phase, "versionId": V2, "attempt": 1, "code": code}
        try:
            world.check(memory, server, Seen(untraced=untraced), V1, V2)
        except Violation as violation:
            return str(violation)
        return "fine"

    assert verdict([True]) == "fine"
    assert verdict([False]).startswith("I6") and verdict([]).startswith("I6")
    assert verdict([True], code="rolled_back").startswith("I6")
    assert verdict([False, True], phase="trial").startswith("I3")


@pytest.mark.parametrize(
    "state, trace, expected",
    [
        (otadata.PENDING_VERIFY, "", True),
        (otadata.PENDING_VERIFY, "1", True),
        (otadata.PENDING_VERIFY, "2", False),
        (otadata.NEW, "", False),
        (otadata.ABORTED, "", False),
        (otadata.VALID, "", False),
    ],
)
def test_trial_is_untraced_from_the_boot_loaders_start_until_boot_pys_trace(state, trace, expected):
    flash = Flash(io.BytesIO(world.factory_fresh(make_image(1, 9000))))
    otadata.write_record(flash, world.PLACES["otadata"][0], 0, 1, otadata.VALID)
    otadata.write_record(flash, world.PLACES["otadata"][0], 1, 2, state)
    assert watch.untraced_trial(flash, trace) is expected
    assert watch.is_vouched_for(flash, "2") is (state == otadata.NEW) and not watch.is_vouched_for(flash, "1")
    assert not watch.is_record_lost(flash)
    flash.erase(world.PLACES["otadata"][0])
    assert watch.is_record_lost(flash)


def test_slot_is_looked_at_after_every_operation_in_it():
    images = {V1: make_image(1, 9000), V2: make_image(2, 9000)}
    flash = Flash(io.BytesIO(world.factory_fresh(images[V1])))
    start = world.PLACES["ota_1"][0]

    def seen(image, **how):
        slots = watch.Watch(Server(images, V2, **how))
        slots.look(flash, world.PLACES["vfs"][0])
        assert slots.states == 0
        for sector in range(start, start + world.SLOT_BYTES, 4096):
            flash.erase(sector)
        flash.program(start + 32, image[32:])
        slots.look(flash, start)
        flash.program(start, image[:32])
        slots.look(flash, start)
        return slots.states, slots.loadable, slots.problem is None

    assert seen(images[V2]) == (2, 1, True)
    assert seen(make_image(3, 9000)) == (2, 1, False)
    assert seen(images[V2][:-1]) == (2, 0, True)
    for what in world.REFUSED:
        assert seen(images[V2], does={V2: what}) == (2, 1, False)
