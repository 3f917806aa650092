"""The same cuts, sampled, on the real MicroPython VM: real littlefs in C, real sockets, the real server.

Half of the devices run the agent's source, the other half the compiled agent, which is what leaves the factory.
"""

import random
import re
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rich.progress import Progress

from tools import agent, factory, firmware, server
from tools.proof.powercut.sweep import KINDS, Outcome, Setting
from tools.proof.releases import small_release
from tools.twin.__main__ import WIFI, is_done
from tools.twin.device import Result, Twin

_OPERATIONS = {1: 47, 2: 21}  # of the boot that downloads 20,000 bytes, and of the trial
_DEVICES_PER_JOB = 4  # they mostly wait for their sensors
_TIMEOUT_S = 60
_GIVEN_UP = "has failed here"
_SPOKE_IN_TRIAL = re.compile(r"\(on trial\)\n(?!-- power cut:)")


def play(progress: Progress, count: int, setting: Setting, jobs: int) -> list[Outcome]:
    """`count` cuts of the story from factory state to version 2 confirmed, each on a device of its own."""
    chosen = random.Random(setting.seed)
    # Numbers past a boot's last operation cut nothing, and do not count.
    places = [
        (boot, number, kind) for boot, last in _OPERATIONS.items() for number in range(last) for kind in KINDS[:3]
    ]
    chosen.shuffle(places)
    task = progress.add_task("on the VM", total=count)
    done: list[Outcome] = []
    with tempfile.TemporaryDirectory() as folder, server.running(Path(folder) / "server") as running:
        bench = _Bench(Path(folder), running, setting)
        with ThreadPoolExecutor(jobs * _DEVICES_PER_JOB) as pool:
            while places and len(done) < count:
                size = min(count - len(done), 4 * jobs * _DEVICES_PER_JOB)
                batch, places = places[:size], places[size:]
                for outcome in pool.map(bench.play, batch):
                    if outcome.cuts:
                        done.append(outcome)
                        progress.advance(task)
    return done


class _Bench:
    def __init__(self, folder: Path, running: server.Running, setting: Setting) -> None:
        self._folder = folder
        self._running = running
        self._old = small_release(setting.seed, setting.image_bytes * 5 // 6)
        self._image = small_release(setting.seed + 1, setting.image_bytes)
        new = folder / "new.bin"
        new.write_bytes(self._image)
        vendor = running.vendor
        template = vendor.create_template("Thermometer")
        self._product = vendor.create_product("Thermometer", template["id"])["id"]
        self._version = vendor.create_version(template["id"], new)["id"]
        vendor.set_target(template["id"], self._version)

    def play(self, cut: tuple[int, int, str]) -> Outcome:
        boot, number, kind = cut
        serial = f"THERM-{boot}-{number}-{kind}"
        self._running.vendor.add_serials(self._product, [serial])
        flash = self._folder / f"{serial}.bin"
        files = {
            **agent.board_files(),
            **factory.own_files(serial, self._running.url, wifi=WIFI, start_spread_s=0),
        }
        flash.write_bytes(factory.flash_image(firmware.combined_image("1.27.0"), files, self._old))
        twin = Twin(flash, "vm", cut=cut)
        result = twin.power_on(timeout_s=_TIMEOUT_S, until=lambda console: is_done(console) or _GIVEN_UP in console)
        reached = "-- power cut:" in result.console
        problem = self._problem(twin, serial, result)
        flash.unlink()
        cuts = ((number, kind),) if reached or problem else ()
        return Outcome("vm", cuts, result.boots, [], result.console, problem)

    def _problem(self, twin: Twin, serial: str, result: Result) -> str | None:
        if result.reason != "until":
            return f"I1: not in step ({result.reason})"
        thing, files, state = self._running.vendor.thing(serial), twin.files(), twin.state()
        if state.get("quarantined"):
            return self._problem_of_giving_up(twin, thing, result.console)
        if twin.slot_bytes(state["slot"], len(self._image)) != self._image or state["versionId"] != self._version:
            return "I2: the record's claim is not in its slot"
        if (thing["currentVersion"] or {}).get("id") != self._version or thing["name"] != "ThermometerDevice":
            return "I6: the server does not say so"
        if files["/serial.txt"].decode().strip() != serial:
            return "I5: the serial number has changed"
        return None

    def _problem_of_giving_up(self, twin: Twin, thing: dict, console: str) -> str | None:
        """Giving up is right when power failed between the boot loader's start of the trial and boot.py's trace, which
        comes before the agent's first line."""
        if _SPOKE_IN_TRIAL.search(console):
            return "I6: given up as never started, and it had left its trace"
        if twin.slot_bytes("ota_0", len(self._old)) != self._old or twin.state().get("versionId"):
            return "I2: the record's claim is not in its slot"
        told = thing["properties"].get("status", {})
        return None if told.get("code") == "never_started" else f"the server was told {told}"
