"""The stories: what a thermometer goes through, and what its console, its flash and the server say then.

Each is a function of a bench; its first line says what it shows. StoryFailed ends it.
"""

from statistics import median

from tools import firmware
from tools.deploy.port import open_serial
from tools.owner.improv import Improv
from tools.proof.chip import heap, releases
from tools.proof.chip.bench import DOWNLOAD_S, START_S, WATCHDOG_S, Bench, StoryFailed, certificates, signing_key
from tools.proof.chip.emulator import SSID, Chip
from tools.twin import otadata

_HALF_OF_BAR = "#" * 20
_UNHEALTHY_STARTS = 5  # of boot.py
_STARTS = 3
_READ_S = 0.1


def factory(bench: Bench) -> None:
    """A factory-fresh thermometer activates and is in step; power-on after power-on changes nothing on flash."""
    with bench.serving():
        bench.make_flash()
        with bench.powered() as chip:
            _provision(bench, chip)
        before = bench.hash()
        with bench.powered() as chip:
            line = bench.expect(chip, "in step with version 1", START_S)
            bench.expect(chip, "C reported", START_S)
            bench.step(f"the power comes back: in step {line.at_s:.1f} s after power-on")
        bench.check(bench.hash() == before, "not a bit on flash has changed by that")


def update(bench: Bench) -> None:
    """A release with another thermometer.py is installed, proves itself, is marked valid and confirmed."""
    with bench.serving():
        bench.make_flash()
        image = releases.working(bench.app, 2)
        with bench.powered() as chip:
            _provision(bench, chip)
            bench.publish(image)
            _install(bench, chip, "2")
            bench.expect(chip, "C reported, by release 2", START_S)
            bench.step("the new thermometer.py measures")
        _check_runs_2(bench, image)


def crash(bench: Bench) -> None:
    """A release that crashes gets three trials, then is left alone; the old one runs on."""
    with bench.serving():
        bench.make_flash()
        with bench.powered() as chip:
            _provision(bench, chip)
            bench.publish(releases.broken(bench.app, 2, "crashes"))
            for number in (1, 2, 3):
                bench.expect(chip, "checked, starting it", DOWNLOAD_S)
                bench.expect(chip, "release 2 crashes", START_S)
                bench.step(f"trial {number}: it crashes")
                bench.expect(chip, "[1/5] serial number", WATCHDOG_S)
                bench.step("release 1 runs again")
            bench.expect(chip, "has failed here; waiting for another target version", START_S)
            bench.expect(chip, "C reported", START_S)
            bench.step("it is left alone, the thermometer measures")
            bench.step(f"the server has been told: {bench.status()}")
        _check_runs_1(bench)


def hang(bench: Bench) -> None:
    """A release that hangs is ended by boot.py's watchdog; the old one runs on."""
    _roll_back(bench, "hangs", "release 2 hangs")


def unimportable(bench: Bench) -> None:
    """A release whose agent cannot be imported is ended by boot.py's watchdog; the old one runs on."""
    _roll_back(bench, "cannot be imported", "incompatible .mpy file")


def foreign(bench: Bench) -> None:
    """Another product's app (micrOS, called 1.28.0) is refused by its first bytes: nothing is erased."""
    with bench.serving():
        bench.make_flash()
        with bench.powered() as chip:
            _provision(bench, chip)
            before = bench.slot("ota_1")
            bench.publish(releases.working(bench.app, 2), target=False)
            bench.put_in_its_place("2", firmware.app_image("1.28.0"))
            bench.set_target("2")
            line = bench.expect(chip, "[no_release]", DOWNLOAD_S)
            bench.step(f"refused: {line.text}")
            bench.expect(chip, "C reported", START_S)
            bench.expect(chip, "has failed here; waiting for another target version", START_S)
            bench.step("it is left alone, the thermometer measures")
            bench.check(bench.slot("ota_1") == before, "not a bit in ota_1 has changed")
        _check_runs_1(bench)


def cut_download(bench: Bench) -> None:
    """The power fails in the download: it goes on where it was."""
    with bench.serving():
        bench.make_flash()
        image = releases.working(bench.app, 2)
        with bench.powered() as chip:
            _provision(bench, chip)
            bench.publish(image)
            bench.expect(chip, _HALF_OF_BAR, DOWNLOAD_S, whole=False)
        bench.step("power cut, with half of the firmware in ota_1")
        bench.check(bench.slot("ota_1")[:32] == b"\xff" * 32, "its first bytes are not on flash: nothing to boot")
        with bench.powered() as chip:
            line = bench.expect(chip, "goes on at byte", START_S)
            bench.step(line.text.partition(" firmware 2 ")[2])
            _install(bench, chip, "2")
        _check_runs_2(bench, image)


def cut_trial(bench: Bench) -> None:
    """The power fails in the trial: the old release arms the new one again, without a download."""
    with bench.serving():
        bench.make_flash()
        image = releases.working(bench.app, 2)
        with bench.powered() as chip:
            _begin_trial(bench, chip, image)
        bench.step("power cut, with release 2 on trial")
        with bench.powered() as chip:
            bench.expect(chip, "checked, starting it", START_S)
            bench.check(not any("into ota_1 |" in line.text for line in chip.lines), "armed again without a download")
            _prove(bench, chip, "2")
        _check_runs_2(bench, image)


def cut_mark(bench: Bench) -> None:
    """The power fails in the mark, between the erase of otadata's record and its writing, and right after the mark."""
    with bench.serving():
        bench.make_flash()
        image = releases.working(bench.app, 2)
        with bench.powered() as chip:
            _begin_trial(bench, chip, image)
            bench.check(chip.watch(lambda: _trial_record(bench) is None, START_S), "the mark is under way: power cut")
        # No watching from outside is quick enough to hit that moment, but how flash looks then is known.
        bench.erase_record(otadata_sector=1)
        bench.step("otadata's record as it is between erase and write: blank")
        with bench.powered() as chip:
            bench.expect(chip, "checked, starting it", START_S)
            bench.step("release 1 runs, and arms release 2 again")
            bench.expect(chip, "[1/5] serial number", START_S)
            _check_on_trial(bench)
            happened = chip.watch(lambda: _states(bench) == [otadata.VALID] * 2, START_S)
        bench.check(happened, "both records are valid: power cut")
        with bench.powered() as chip:
            bench.expect(chip, "in step with version 2", START_S)
            bench.expect(chip, "C reported, by release 2", START_S)
            bench.step("release 2 runs, confirmed")
        _check_runs_2(bench, image)


def signed(bench: Bench) -> None:
    """A signed release is installed by a thermometer with a key; an unsigned one is refused."""
    bench.signing_key = signing_key(bench.folder)
    with bench.serving():
        bench.make_flash()
        with bench.powered() as chip:
            _provision(bench, chip)
            bench.publish(releases.working(bench.app, 2))
            _install(bench, chip, "2")
            bench.publish(releases.working(bench.app, 3), signed=False)
            line = bench.expect(chip, "[no_signature]", DOWNLOAD_S)
            bench.step(f"refused: {line.text}")
            bench.expect(chip, "C reported, by release 2", START_S)
            bench.step("release 2 measures")


def tls(bench: Bench) -> None:
    """An update over https, from a server whose certificate is verified."""
    ca, *served = certificates(bench.folder)
    with bench.serving(served):
        bench.make_flash(ca)
        image = releases.working(bench.app, 2)
        with bench.powered() as chip:
            _provision(bench, chip)
            bench.publish(image)
            _install(bench, chip, "2")
        _check_runs_2(bench, image)


def crash_later(bench: Bench) -> None:
    """A release that keeps crashing after its mark goes back to the other slot, and is left alone."""
    with bench.serving():
        bench.make_flash()
        with bench.powered() as chip:
            _provision(bench, chip)
            bench.publish(releases.crashing_later(bench.app, 2))
            _install(bench, chip, "2")
            for number in range(_UNHEALTHY_STARTS):
                bench.expect(chip, "the product crashes", START_S)
                bench.step(f"release 2 crashes, start {number + 1}")
            bench.expect(chip, "has failed here; waiting for another target version", START_S)
            bench.expect(chip, "C reported", START_S)
            bench.step("release 1 runs and measures, release 2 is left alone")
            bench.step(f"the server has been told: {bench.wait_for_status(chip, 'keeps_crashing', START_S)}")


def boot(bench: Bench) -> None:
    """A start from the bundle, and one from the same files in a folder, as `make deploy` leaves them."""
    with bench.serving():
        bench.make_flash()
        forms = {"bundle": bench.flash.read_bytes(), "folder": bench.deployed_flash()}
        starts: dict[str, list[float]] = {form: [] for form in forms}
        for _ in range(_STARTS):
            for form, content in forms.items():
                bench.flash.write_bytes(content)
                with bench.powered() as chip:
                    starts[form].append(bench.expect(chip, "[1/5] serial number", START_S).at_s)
                    if form == "folder":
                        bench.expect(chip, "[2/5] activated", START_S)
        for form, found in starts.items():
            seconds = ", ".join(f"{at_s:.2f}" for at_s in found)
            bench.step(f"{form}: first line {seconds} s after power-on, median {median(found):.2f} s")


def patch(bench: Bench) -> None:
    """The same release once as a whole, once as a patch for the one that runs: the seconds of both."""
    image = releases.working(bench.app, 2)
    for patches in (False, True):
        with bench.serving(patches=patches):
            bench.make_flash()
            with bench.powered() as chip:
                _provision(bench, chip)
                bench.publish(image, target=False)
                bench.wait_for_patches("2")
                bench.set_target("2")
                begun = bench.expect(chip, "[3/5] target version 2", START_S)
                line = bench.expect(chip, "comes as a patch" if patches else "into ota_1", DOWNLOAD_S, whole=patches)
                armed = bench.expect(chip, "checked, starting it", DOWNLOAD_S)
                how = line.text.partition(" firmware 2 ")[2] if patches else "comes as a whole"
                bench.step(f"{how}: armed {armed.at_s - begun.at_s:.1f} s after it was told of")
                _prove(bench, chip, "2")
            _check_runs_2(bench, image)


def setup(bench: Bench) -> None:
    """A thermometer without a network opens its own, and joins the one that it is told over the cable."""
    with bench.serving():
        bench.make_flash(ssid=None)
        with bench.powered() as chip:
            line = bench.expect(chip, "setup: join the network", START_S)
            bench.step(f"its network is open {line.at_s:.1f} s after power-on")
            with chip.lent() as port, open_serial(port, _READ_S) as cable:
                improv = Improv(cable)
                bench.step(f"it says of itself: {', '.join(improv.device())}")
                bench.check(not improv.join("no such network", ""), "it does not join what is not there")
                seen = [network.name for network in improv.networks()]
                if SSID not in seen:
                    bench.step("this radio has no networks around while it has one of its own: no more can be shown")
                    return
                bench.step(f"it sees {', '.join(seen)}")
                bench.check(improv.join(SSID, ""), f"it has joined {SSID}")
            bench.expect(chip, "in step with version 1", START_S)
            bench.expect(chip, "C reported", START_S)
            bench.step("started anew, in step, measured")
        with bench.powered() as chip:
            bench.expect(chip, "in step with version 1", START_S)
            bench.step("the power comes back: it knows the network still")


def measure(bench: Bench) -> None:
    """Heap in use during a signed update, by phase."""
    _measure(bench)


def measure_tls(bench: Bench) -> None:
    """The same over https."""
    _measure(bench, over_tls=True)


STORIES = {
    story.__name__.replace("_", "-"): story
    for story in (
        *(factory, update, crash, hang, unimportable, foreign, cut_download, cut_trial, cut_mark, signed, tls),
        *(crash_later, patch, setup, boot, measure, measure_tls),
    )
}
"""The stories by name, in the order in which they are told."""


def _provision(bench: Bench, chip: Chip) -> None:
    line = bench.expect(chip, "[1/5] serial number", START_S)
    bench.step(f"release 1 runs, first line {line.at_s:.1f} s after power-on")
    bench.expect(chip, "[2/5] activated", START_S)
    bench.expect(chip, "in step with version 1", START_S)
    line = bench.expect(chip, "C reported", START_S)
    bench.step(f"activated, in step, measured; {line.at_s:.1f} s after power-on")


def _begin_trial(bench: Bench, chip: Chip, image: bytes) -> None:
    """Have release 1 install this one, until that is on trial."""
    _provision(bench, chip)
    bench.publish(image)
    bench.expect(chip, "checked, starting it", DOWNLOAD_S)
    bench.expect(chip, "[1/5] serial number", START_S)
    _check_on_trial(bench)


def _install(bench: Bench, chip: Chip, number: str) -> None:
    begun = chip.seconds()
    line = bench.expect(chip, "checked, starting it", DOWNLOAD_S)
    bench.step(f"release {number} downloaded, checked, armed ({line.at_s - begun:.1f} s)")
    _prove(bench, chip, number)


def _prove(bench: Bench, chip: Chip, number: str) -> None:
    begun = chip.seconds()
    first = bench.expect(chip, "[1/5] serial number", START_S)
    proven = bench.expect(chip, "the new firmware has proven itself", START_S)
    line = bench.expect(chip, f"in step with version {number}", START_S)
    parts = f"first line {first.at_s - begun:.1f} s after it was armed, proof {proven.at_s - first.at_s:.1f} s"
    bench.step(f"trial passed, marked valid, confirmed ({parts}, confirmed {line.at_s - proven.at_s:.1f} s)")


def _roll_back(bench: Bench, how: str, sign: str) -> None:
    with bench.serving():
        bench.make_flash()
        with bench.powered() as chip:
            _provision(bench, chip)
            bench.publish(releases.broken(bench.app, 2, how))
            bench.expect(chip, "checked, starting it", DOWNLOAD_S)
            bench.expect(chip, sign, START_S)
            bench.step(f"release 2 {how}, on trial")
            begun = chip.seconds()
            bench.set_target("1")  # otherwise it would get two more trials
            line = bench.expect(chip, "in step with version 1", WATCHDOG_S)
            bench.step(f"release 1 runs again, {line.at_s - begun:.0f} s later")
            bench.step(f"the server has been told: {bench.wait_for_status(chip, 'rolled_back', START_S)}")
        _check_runs_1(bench)


def _check_runs_1(bench: Bench) -> None:
    current = (bench.thing()["currentVersion"] or {}).get("name")
    bench.check(bench.record()["slot"] == "ota_0" and current == "1", "record and server: release 1, in ota_0")


def _check_runs_2(bench: Bench, image: bytes) -> None:
    slot = bench.slot("ota_1")
    bench.check(slot.startswith(image), "ota_1 holds release 2 to the byte")
    thing, record = bench.thing(), bench.record()
    known = record["versionId"] == bench.versions["2"] == thing["currentVersion"]["id"]
    bench.check(known and record["slot"] == "ota_1", "record and server: release 2, in ota_1")
    bench.check(_states(bench) == [otadata.VALID] * 2, "otadata: both records valid")


def _check_on_trial(bench: Bench) -> None:
    if _trial_record(bench) is None:
        raise StoryFailed(f"otadata names no trial: {_states(bench)}")


def _trial_record(bench: Bench) -> int | None:
    return next((sequence for sequence, state, sound in bench.records() if state == otadata.PENDING_VERIFY), None)


def _states(bench: Bench) -> list[int]:
    return [state for _, state, _ in bench.records()]


def _measure(bench: Bench, over_tls: bool = False) -> None:
    bench.signing_key = signing_key(bench.folder)
    ca = served = None
    if over_tls:
        ca, *served = certificates(bench.folder)
    with bench.serving(served):
        bench.make_flash(ca, heap.release(bench.app, 1))
        bench.write_flash(heap.idle_files())
        with bench.powered() as chip:
            idle = bench.expect(chip, heap.IDLE, START_S).text
        bench.write_flash()
        with bench.powered() as chip:
            _provision(bench, chip)
            bench.publish(heap.release(bench.app, 2))
            _install(bench, chip, "2")
            bench.expect(chip, "C reported", START_S)
            report = heap.read_report([idle, *(line.text for line in chip.lines)])
        for text in report.lines():
            bench.step(text)
        bench.check(report.peak_bytes <= heap.LIMIT_BYTES, f"the peak is within {heap.LIMIT_BYTES:,} bytes")
