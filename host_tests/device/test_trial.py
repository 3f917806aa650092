"""A new firmware's one boot: what does not prove itself in two minutes is gone, by itself.

docs/what-it-refuses.md lists the ways; here each is lived through.
"""

import hashlib

import pytest

from host_tests.device.test_refusals import table
from host_tests.fakes.home import IMAGES, Home, is_done
from tools import release
from tools.twin import device, otadata
from tools.twin.image import make_image

ON_BOTH = [pytest.param("vm", marks=pytest.mark.vm), "cpython"]
HASTE = 400  # the trial's two minutes pass in 0.3 s
ENOUGH = 30  # in 4 s, in which the agent can say what is wrong


def behaves(how: str) -> dict:
    image = IMAGES["2"]
    return {"firmware": {hashlib.sha256(image).hexdigest(): {"size_bytes": len(image), "does": how}}}


def with_loop(source: bytes) -> dict[str, bytes]:
    """The versions at the server, 2 with this in place of the agent's loop."""
    files = release.release_files(release.Contents(2), "1.27.0", source=True)
    return {**IMAGES, "2": make_image(2, 30000, files={**files, "/agent/loop.py": source})}


WORLDS = {
    "the new firmware hangs": behaves("hang"),
    "the new firmware crashes before `boot.py` runs, or is none that runs it": behaves("crash"),
    "the new firmware never joins the WiFi": behaves("offline"),
    "the sensor fails": {"ds18x20": None, "chip": None},
}


def given_up(console: str) -> bool:
    return "firmware 2 has failed here" in console and "reported" in console.rpartition("has failed here")[2]


@pytest.fixture
def speed(monkeypatch):
    """Sets how fast the watchdog's time runs in a trial."""
    return lambda times: monkeypatch.setattr(device, "TRIAL_SPEED", times)


@pytest.mark.parametrize("runtime", ON_BOTH)
@pytest.mark.parametrize("name", WORLDS)
def test_trial_that_is_not_passed(tmp_path, runtime, name, speed):
    code, _, does = table("The trial")[name]
    speed(ENOUGH if name == "the sensor fails" else HASTE)
    with Home(tmp_path, runtime) as home:
        if name == "the sensor fails":  # which was there before
            home.change_files(state_json=b'{"sensors": "28ff010203040506"}')
        home.world = WORLDS[name]
        console = home.power_on(given_up)
        boots = 1 if code == "never_started" else 3
        assert console.count("(on trial)") == console.count("the boot loader starts ota_0 (as before)") == boots
        assert console.count("[4/5] firmware 2 into ota_1 |") == 1, "downloaded again, though the slot was whole"
        assert does == f"returns to the old firmware, gives up {'at once' if boots == 1 else 'after 3 boots'}"
        told = {"phase": "given up", "versionId": home.versions["2"], "attempt": boots, "code": code}
        assert home.thing()["properties"]["status"] == told
        assert home.thing()["currentVersion"] is None
        assert home.twin().slot_bytes("ota_0", len(IMAGES["1"])) == IMAGES["1"]
        assert "versionId" not in home.twin().state()
        if name == "the sensor fails":
            assert "[sensor]; the thermometer runs, next try in" in console


def test_version_given_up_does_not_keep_the_next_one_from_being_installed(tmp_path, speed):
    speed(HASTE)
    with Home(tmp_path, "cpython") as home:
        home.world = behaves("crash")
        home.power_on(given_up)
        speed(1)
        home.set_target("3")
        home.power_on()
        home.check_in_step("3", "ota_1")


@pytest.mark.parametrize("runtime", ON_BOTH)
def test_server_lost_in_the_trial_means_the_old_firmware_and_another_try(tmp_path, runtime, speed):
    speed(ENOUGH)
    code, _, does = table("The trial")["the server cannot be reached within two minutes"]
    with Home(tmp_path, runtime) as home:
        assert home.boot().console.endswith("[4/5] firmware 2 checked, starting it\n")
        home.close_server()
        console = home.power_on(lambda heard: "next try" in heard.partition("(as before)")[2])
        trial, _, after = console.partition("-- watchdog: ")
        assert "(on trial)" in trial and "[no_answer]; the thermometer runs" in trial
        assert after.startswith("the boot loader starts ota_0 (as before)")
        assert home.twin().otadata()[1][1] == otadata.ABORTED
        update = home.twin().state()["update"]
        assert (update["phase"], update["attempts"], update["code"]) == ("rolled back", 1, code)
        home.open_server()
        speed(1)
        console = home.power_on()
        assert does == "returns to the old firmware, tries again" and "into ota_1 |" not in console
        home.check_in_step("2", "ota_1")
        told = {"phase": "installed", "versionId": home.versions["2"], "attempt": 2, "code": None}
        assert home.thing()["properties"]["status"] == told


def test_power_that_fails_in_the_trial_means_the_old_firmware_and_another_try(tmp_path):
    code, _, does = table("The trial")["the power fails"]
    with Home(tmp_path, "cpython") as home:
        home.boot()
        home.power_on(lambda heard: "[1/5]" in heard.partition("(on trial)")[2])
        console = home.power_on()
        assert "power-on: the boot loader starts ota_0 (as before)" in console and "into ota_1 |" not in console
        assert does == "returns to the old firmware, tries again"
        home.check_in_step("2", "ota_1")
        assert home.thing()["properties"]["status"]["attempt"] == 2 and code == "rolled_back"


@pytest.mark.parametrize(
    "runtime, loop",
    [
        pytest.param("vm", b"print('x')\nimport missing\n", marks=pytest.mark.vm),
        ("cpython", b"print('x')\nimport missing\n"),
        pytest.param("vm", b"print('x')\nwhile True:\n    pass\n", marks=pytest.mark.vm),
        ("cpython", b"def (\n"),
    ],
)
def test_release_whose_agent_cannot_be_imported_is_gone_after_its_trials(tmp_path, runtime, loop, speed):
    speed(HASTE)
    code, _, does = table("The trial")["the agent cannot be imported"]
    with Home(tmp_path, runtime, images=with_loop(loop)) as home:
        console = home.power_on(given_up)
        assert console.count("-- watchdog: the boot loader starts ota_0 (as before)") == 3
        assert does == "returns to the old firmware, gives up after 3 boots"
        told = {"phase": "given up", "versionId": home.versions["2"], "attempt": 3, "code": code}
        assert home.thing()["properties"]["status"] == told
        speed(1)
        home.set_target("3")
        home.power_on()
        home.check_in_step("3", "ota_1")


@pytest.mark.parametrize("runtime", ON_BOTH)
def test_the_other_slot_is_not_written_before_the_trial_is_over(tmp_path, runtime):
    with Home(tmp_path, runtime) as home:
        home.boot()
        home.set_target("3")  # another target, while the new firmware is on trial
        console = home.power_on()
        proven = console.index("[4/5] the new firmware has proven itself in ota_1")
        assert proven < console.index("[4/5] firmware 3 into ota_0 |")
        home.check_in_step("3", "ota_0")


def test_passed_trial_is_marked_before_its_id_is_stored(tmp_path):
    with Home(tmp_path, "cpython") as home:
        home.power_on(lambda heard: "has proven itself" in heard)
        sequence, state, sound = home.twin().otadata()[1]
        assert (sequence, state, sound) == (2, otadata.VALID, True)
        home.power_on(is_done)
        home.check_in_step("2", "ota_1")
