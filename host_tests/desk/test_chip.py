"""`make chip` without a chip: what it says without an emulator, how it hears a console, what its releases hold."""

import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tools import firmware, release
from tools.proof.chip import __main__ as chip
from tools.proof.chip import heap, releases
from tools.proof.chip.bench import StoryFailed
from tools.proof.chip.emulator import Chip, Emulator, EmulatorError
from tools.proof.chip.stories import STORIES


@pytest.fixture
def process():
    """A process that stands for the emulator."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], stderr=subprocess.PIPE)
    yield process
    process.kill()
    process.wait()
    process.stderr.close()


def console(*pieces: bytes, hold: bool = True):
    """A console that says these pieces to the one who connects; its port, and what ends it."""
    listener = socket.create_server(("127.0.0.1", 0))
    ended = threading.Event()

    def say():
        connection, _ = listener.accept()
        with connection:
            for piece in pieces:
                connection.sendall(piece)
            if hold:
                ended.wait(30)
        listener.close()

    threading.Thread(target=say, daemon=True).start()
    return listener.getsockname()[1], ended


def fake_qemu(folder: Path, script: str) -> Path:
    program = folder / "bin" / "qemu-system-xtensa"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\nimport sys, time\n{script}\n")
    program.chmod(0o755)
    return program


def test_without_an_emulator_it_says_what_it_needs(capsys):
    assert chip.main([]) == 2
    said = capsys.readouterr().err
    assert "EMULATOR=" in said and "esp32_wifi" in said and len(said.splitlines()) == 1


def test_what_is_no_emulator_is_one_line_and_status_2(tmp_path, capsys):
    assert chip.main(["--emulator", str(tmp_path / "missing")]) == 2
    assert "there is no program" in capsys.readouterr().err
    program = fake_qemu(tmp_path, "print('lx60   Avnet LX60')")
    assert chip.main(["--emulator", str(program)]) == 2
    assert "no machine esp32" in capsys.readouterr().err


def test_rom_folder_is_found_where_a_build_and_an_installation_put_it(tmp_path):
    program = fake_qemu(tmp_path, "")
    assert "-L" not in Emulator(program).command(Path("flash.bin"), 1)
    (tmp_path / "share" / "qemu").mkdir(parents=True)
    command = Emulator(program).command(Path("flash.bin"), 1)
    assert command[1:3] == ["-L", str(tmp_path / "share" / "qemu")]
    (tmp_path / "bin" / "pc-bios").mkdir()
    assert Emulator(program).command(Path("flash.bin"), 1)[2] == str(tmp_path / "bin" / "pc-bios")


def test_given_rom_folder_wins(tmp_path):
    program = fake_qemu(tmp_path, "")
    (tmp_path / "bin" / "pc-bios").mkdir()
    command = Emulator(program, "-L 'my roms' -accel tcg").command(Path("flash.bin"), 1)
    assert command.count("-L") == 1 and command[-4:] == ["-L", "my roms", "-accel", "tcg"]


def test_an_emulator_that_ends_at_once_says_why(tmp_path):
    program = fake_qemu(tmp_path, "sys.exit('unsupported NIC model: esp32_wifi')")
    with pytest.raises(EmulatorError, match="unsupported NIC model"), Emulator(program).powered(tmp_path / "flash.bin"):
        pass


def test_lines_are_found_once_in_order_and_a_bar_before_its_end(process):
    log = []
    port, ended = console(b"one\r\ntw", b"o\r\nfirmware |####", b"")
    heard = Chip(process, log.append)
    heard.connect(port)
    assert heard.wait_for("tw", 20).text == "two"
    assert heard.wait_for("tw", 0.2) is None, "a line must not count twice"
    assert heard.wait_for("one", 0.2) is None, "what came before is not found again"
    assert heard.wait_for("####", 0.2) is None, "the line has not ended"
    assert heard.wait_for("####", 20, whole=False).text == "firmware |####"
    assert [line.text for line in heard.lines] == ["one", "two"] and len(log) == 2
    ended.set()
    heard.cut_power()


def test_an_emulator_that_dies_is_no_silence(process):
    port, _ = console(b"one\r\n", hold=False)
    heard = Chip(process, str)
    heard.connect(port)
    with pytest.raises(EmulatorError, match="ended by itself"):
        heard.wait_for("two", 20)
    heard.cut_power()


def test_power_cut_ends_the_process(process):
    port, ended = console()
    heard = Chip(process, str)
    heard.connect(port)
    heard.cut_power()
    assert process.poll() is not None
    ended.set()


def test_a_failed_story_is_status_1_and_shows_the_console(tmp_path, monkeypatch, capsys):
    def fails(bench):
        """Fails."""
        bench._hear("  1.0  the last words")
        raise StoryFailed("it was not so")

    monkeypatch.setattr(chip, "FOLDER", tmp_path)
    monkeypatch.setitem(STORIES, "update", fails)
    monkeypatch.setattr(Emulator, "check", lambda self: None)
    assert chip.main(["--emulator", "qemu", "--story", "update"]) == 1
    said = capsys.readouterr().out
    assert "the last words" in said and "it was not so" in said and "FAIL update" in said

    def passes(bench):
        """Passes."""

    monkeypatch.setitem(STORIES, "update", passes)
    assert chip.main(["--emulator", "qemu", "--story", "update"]) == 0
    assert "PASS update" in capsys.readouterr().out


def test_releases_differ_in_what_they_are_to_differ_in():
    app = firmware.app_image(releases.MICROPYTHON)
    plain = release.read_release(release.make_release(app, release.Contents(2)), "plain").files
    made = {
        "/thermometer.mpy": [releases.working(app, 2), releases.crashing_later(app, 2)],
        "/agent/loop.mpy": [releases.broken(app, 2, how) for how in releases.BROKEN],
    }
    for path, images in made.items():
        for image in images:
            files = release.read_release(image, "made").files
            assert [name for name in files if files[name] != plain.get(name)] == [path]
    measured = release.read_release(heap.release(app, 2), "measured").files
    assert {name for name in plain if measured[name] != plain[name]} == {
        path.replace(".py", ".mpy") for path in heap.sources()
    }


def test_moved_device_code_is_noticed():
    with pytest.raises(ValueError, match="mend tools/proof/chip"):
        releases.replaced("a b", "c", "d")
    with pytest.raises(ValueError, match="2 times"):
        releases.replaced("a a", "a", "d")


def test_heap_report_is_the_most_of_each_phase_above_an_idle_board():
    pool = "qstr pool: n_pool=5, n_qstr={}, n_str_data_bytes=5937, n_total_bytes={}"
    lines = [
        "heap 11000 idle",
        "heap 15000 main",
        "bar |##heap 30000 ota.writer",
        "heap 20000 main",
        "x",
        "heap 9 idle",
    ]
    report = heap.read_report([*lines, pool.format(520, 10433), pool.format(181, 4106)])
    assert (report.idle_bytes, report.phases) == (11000, {"main": 9000, "ota.writer": 19000})
    assert report.peak_bytes == 19000 and "19,000" in report.lines()[1]
    assert (report.names, report.name_bytes) == (520, 10433)
    with pytest.raises(ValueError):
        heap.read_report(["nothing"])
