"""What ends early ends with one line that says why: Ctrl-C, a file or port in use, a firmware that is refused."""

import os
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tools import demo, factory, firmware
from tools.locks import held
from tools.twin import __main__ as twin
from tools.twin import repl
from tools.twin.image import make_image

ROOT = factory.ROOT
THERMOMETER = Path(sys.executable).with_name("thermometer")
DEADLINE_S = 120


def one_line(error: str, *told: str) -> None:
    assert error.count("\n") == 1 and "Traceback" not in error and "Errno" not in error, error
    for text in told:
        assert text in error, error


def interrupted(words: list, shows: str) -> tuple[int, str]:
    """Start a command, press Ctrl-C when it shows this; its status and standard error."""
    process = subprocess.Popen(
        [THERMOMETER, *map(str, words)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        # A test that runs in the background has inherited that Ctrl-C is not for it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        heard, deadline = "", time.monotonic() + DEADLINE_S
        while shows not in heard and time.monotonic() < deadline:
            if select.select([process.stdout], [], [], 1)[0]:
                heard += os.read(process.stdout.fileno(), 65536).decode(errors="replace")
        assert shows in heard
        process.send_signal(signal.SIGINT)
        return process.wait(DEADLINE_S), process.stderr.read().decode()
    finally:
        process.kill()
        process.communicate()


@pytest.mark.vm
def test_ctrl_c_cuts_a_virtual_boards_power(tmp_path):
    flash = tmp_path / "flash.bin"
    words = ["twin", "--serial=A1", "--server=http://127.0.0.1:1", f"--flash={flash}"]
    status, error = interrupted(words, "[1/5] serial number A1")
    assert status == 1
    one_line(error, "twin: interrupted: the power is cut", str(flash))
    assert flash.stat().st_size == 4 << 20


@pytest.mark.vm
def test_ctrl_c_ends_the_demo():
    status, error = interrupted(["demo"], "== target version: 2")
    assert status == 1
    one_line(error, "demo: interrupted")


def test_two_demos_at_once(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(demo, "FOLDER", tmp_path / "demo")
    with held(tmp_path / "demo.lock", ""):
        assert demo.main([]) == 1
    one_line(capsys.readouterr().err, "demo: another demo is running: let it end")
    assert not (tmp_path / "demo").exists()


@pytest.mark.parametrize(
    "content, told",
    [
        (firmware.combined_image("1.27.0-esp32s3"), "is for the ESP32-S3"),
        (b"nonsense", "is no ESP32 image"),
        (make_image(1)[:-1], "is damaged"),
    ],
)
def test_demo_with_a_firmware_for_no_board_does_not_begin(capsys, monkeypatch, tmp_path, content, told):
    monkeypatch.setattr(demo, "FOLDER", tmp_path / "demo")
    path = tmp_path / "firmware.bin"
    path.write_bytes(content if isinstance(content, bytes) else content.read_bytes())
    assert demo.main([f"--firmware={path}"]) == 1
    output, error = capsys.readouterr()
    one_line(error, "demo: ", told)
    assert "==" not in output


def test_demo_without_its_firmware(capsys, tmp_path):
    assert demo.main([f"--firmware={tmp_path / 'missing.bin'}"]) == 2
    one_line(capsys.readouterr().err, "demo: ", "missing.bin: No such file")


@pytest.mark.vm
def test_demo_ends_when_the_thermometer_refuses_the_firmware(capsys, monkeypatch, tmp_path):
    """It waited two minutes for a thermometer that had said at once that it would not."""
    monkeypatch.setattr(demo, "FOLDER", tmp_path / "demo")
    monkeypatch.setattr(demo, "say", print)
    path = tmp_path / "firmware.bin"
    path.write_bytes(make_image(1, size_bytes=factory.place("ota_1", factory.LAYOUT).size + 4096))
    assert demo.main([f"--firmware={path}"]) == 1
    output, error = capsys.readouterr()
    one_line(error, "demo: the thermometer does not take version 2: ", "[image_too_big]")
    assert output.count("next try in") == 1


def test_demo_waits_for_what_mends_itself():
    assert demo._refusal("[2/5] no answer [no_answer]; the thermometer runs, next try in 4 s\n") is None
    assert (
        demo._refusal("the image is too big [x]; the thermometer runs, next try in 3600 s\n")
        == "the image is too big [x]"
    )
    assert demo._refusal("[4/5] firmware 2 has failed here; waiting for another target version\n")


def test_two_virtual_boards_with_one_flash(capsys, tmp_path):
    flash = tmp_path / "flash.bin"
    with twin.for_itself(flash):
        assert twin.main(["--serial=A1", "--server=http://127.0.0.1:1", f"--flash={flash}"]) == 2
        one_line(capsys.readouterr().err, f"twin: {flash} is in use by another virtual board")
        assert repl.main([f"--flash={flash}"]) == 2
        one_line(capsys.readouterr().err, f"twin: {flash} is in use by another virtual board")
    assert not flash.exists()


def test_console_at_a_port_in_use(capsys, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert repl.main([f"--flash={tmp_path / 'flash.bin'}", f"--port={port}"]) == 1
    one_line(capsys.readouterr().err, f"twin: port {port} is in use by another program", "PORT=…")


@pytest.mark.parametrize("content", [b"", b"precious notes"])
@pytest.mark.parametrize("board", (repl, twin))
def test_board_of_a_file_that_is_no_flash(capsys, tmp_path, content, board):
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    others = ["--serial=A1", "--server=http://127.0.0.1:1"] if board is twin else []
    assert board.main([*others, f"--flash={path}"]) == 2
    one_line(capsys.readouterr().err, "notes.txt is no flash image of 4MB, 8MB, 16MB")
    assert path.read_bytes() == content and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("main", [twin.main, repl.main])
def test_folder_that_cannot_be_written(capsys, tmp_path, main):
    (tmp_path / "file").write_text("")
    words = [f"--flash={tmp_path / 'file' / 'flash.bin'}"]
    words += ["--serial=A1", "--server=http://127.0.0.1:1"] if main is twin.main else []
    assert main(words) in (1, 2)
    one_line(capsys.readouterr().err, "twin: ", str(tmp_path / "file"))


@pytest.mark.parametrize("main", [twin.main, repl.main, demo.main])
def test_wrong_arguments_are_one_line(capsys, main):
    with pytest.raises(SystemExit) as ended:
        main(["--fla\x1b[2Jsh=x"])
    assert ended.value.code == 2
    error = capsys.readouterr().err
    one_line(error)
    assert "\x1b" not in error
