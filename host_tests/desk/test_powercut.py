"""A sample of `make powercut`, and that it notices what it is there for."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tools.proof.mutants import __main__ as mutants
from tools.proof.mutants.__main__ import MUTANTS
from tools.proof.powercut import world
from tools.proof.powercut.world import V1, V2, Server, Violation
from tools.twin.image import make_image
from tools.twin.paths import DEVICE


def powercut(*arguments):
    command = [sys.executable, "-m", "tools.proof.powercut", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("seed", ["7", "8"])
def test_power_cut_at_sampled_operations_loses_nothing(seed):
    done = powercut("--sample", "30", "--pairs", "120", "--seed", seed, "--image-bytes", "13000", "--jobs", "1")
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


def test_oracle_never_asks_the_agents_own_code():
    own = {path.stem for path in DEVICE.rglob("*.py")} | {"gadgetkeeper"}
    tree = ast.parse(Path(world.__file__).read_text())
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    imported |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert "littlefs" in imported and not {name.split(".")[0] for name in imported} & own
    loaded = (
        "import sys, tools.proof.powercut.world; print(*(getattr(m, '__file__', '') for m in sys.modules.values()))"
    )
    done = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    assert str(DEVICE) not in done.stdout


def test_oracle_sees_each_violation():
    images = {V1: make_image(1, 9000), V2: make_image(2, 9000)}

    def verdict(state, running="ota_0", target=V1, current=V1, damage=None, quiet=True, versions=(V1,), **server):
        memory = world.factory_fresh(images[V1])
        address, size = world.PLACES["vfs"]
        files = {"/serial.txt": world.SERIAL.encode() + b"\n", "/state.json": state}
        memory[address : address + size] = world.factory.file_system(files, size)
        if damage is not None:
            memory[damage] ^= 1
        known = {"thing": "a", "key": "k", "name": "ThermometerDevice", **server}
        server = Server(images, target, current=current, **known)
        run = type("Run", (), {"quiet": quiet, "started": ["ota_0", running], "versions": versions})
        try:
            world.check(memory, server, run, V1)
        except Violation as violation:
            return str(violation)
        return "fine"

    good = b'{"thingId": "a", "apiKey": "k", "versionId": "%s"}' % V1.encode()
    assert verdict(good) == "fine"
    assert verdict(good, quiet=False).startswith("I1")
    assert verdict(good.replace(V1.encode(), V2.encode())).startswith("I2")
    assert verdict(good, damage=0x10000 + 5000).startswith("I3")
    assert verdict(good, running="ota_1").startswith("I3")
    assert verdict(good, current=V2).startswith("I6")
    assert verdict(good, target=V2, current=V2).startswith("I6")
    assert verdict(good, versions=[V1, None]).startswith("I3")
    assert verdict(good, versions=[V2, V1], does={V2: "unsigned"}).startswith("I3")
    assert verdict(good, versions=[V2] * 4, does={V2: "hang"}).startswith("I3")
    assert verdict(good, versions=[V2] * 3, does={V2: "hang"}) == "fine"
    assert verdict(good, name="Thermometer 1") != "fine"
    assert verdict(good.replace(b'"k"', b'"old"')) != "fine"
