"""make deploy: mpremote's and ampy's own code against the MicroPython VM's raw REPL, on a virtual board."""

import json
import os
import pty
import select
import subprocess
import sys

import pytest
import serial

from host_tests.fakes.console_line import ONE_SLOT, OWN, SOURCE_FLASH_BYTES, Line, Rfc2217, Stranger, listen, make_board
from tools import agent
from tools.deploy import mip
from tools.deploy.__main__ import main
from tools.deploy.board import Board
from tools.deploy.port import refusal
from tools.twin import otadata, repl
from tools.twin.flash import Flash

VERSION = "1.29.0"  # of the VM
OLD = {"/boot.py": b"print('old boot')\n", "/main.py": b"print('old main')\n"}


FILL = """
number = 0
for size_bytes in (32000, 2000):
    try:
        while True:
            number += 1
            with open(f"/{number}.big", "wb") as file:
                file.write(bytes(size_bytes))
    except OSError:
        pass
"""


def deployed():
    """All of the agent's files on a board, compiled."""
    return agent.deployed_files(agent.compiled_files(VERSION))


def deployed_source():
    """All of the agent's files on a board, as source."""
    return agent.deployed_files(agent.source_files())


def nearly_new():
    """A board's agent that lacks three files and has one too much."""
    files = dict(deployed())
    del files["/release/board/__init__.mpy"]
    return {**files, **OWN, **OLD, "/release/thermometer.py": b"raise RuntimeError('stale')\n"}


def deploy(url, *options):
    return main(["deploy", "--port", url, "--no-reset", *options])


@pytest.mark.vm
def test_an_empty_board_gets_the_agent_and_runs_it(tmp_path, capsys):
    twin = make_board(tmp_path / "flash.bin", {})
    with repl.running(twin) as board:
        assert main(["deploy", "--port", board.url]) == 0
        # It may have said so before anybody listened: two Ctrl-C stop it, Ctrl-D starts it again.
        listen(board.url, b"[no_serial]", b"\x03\x03\x04")
    files = twin.files()
    files.pop("/state.json", None)  # once it has measured
    assert files == deployed()
    said = capsys.readouterr().out
    assert f"compiled for MicroPython {VERSION}" in said and "no /serial.txt" in said and "has been reset" in said


@pytest.mark.vm
@pytest.mark.parametrize("tool", ["mpremote", "ampy"])
def test_stale_source_goes_own_files_stay_and_the_second_time_nothing_is_sent(tmp_path, capsys, tool):
    former = {"/release/ota/gone.py": b"", "/release/gone/gone.mpy": b"", "/release/net/head.mpy.part": b"M\x06"}
    source = {path: content for path, content in deployed_source().items() if "/net/h" in path}
    twin = make_board(tmp_path / "flash.bin", {**nearly_new(), **OWN, **source, **former})
    with repl.running(twin) as board:
        assert deploy(board.url, "--tool", tool) == 0
        said = capsys.readouterr().out
        assert "written: /boot.py, /main.py, /release/board/__init__.mpy\n" in said
        first = twin.files()
        assert deploy(board.url, "--tool", tool) == 0
    assert "written: nothing" in capsys.readouterr().out
    assert first == twin.files() == {**deployed(), **OWN}


@pytest.mark.vm
def test_agent_of_0_1_is_replaced_and_leaves_nothing(tmp_path, capsys):
    """Its modules lay in the root: one that stayed could be imported for a new one."""
    former = ("agent.mpy", "board.mpy", "life.py", "thermometer.mpy", "main.mpy", "gadgetkeeper/api.mpy", "boot.py")
    former = {f"/{name}": b"raise RuntimeError('stale')\n" for name in (*former, "gadgetkeeper/errors.txt", "main.py")}
    users = {"/board_notes.txt": b"a user's own", "/lib/agent.mpy": b"a user's own", "/agents.py": b"a user's own"}
    twin = make_board(tmp_path / "flash.bin", {**former, **OWN, **users})
    with repl.running(twin) as board:
        assert deploy(board.url) == 0
        with Board(board.url) as left:
            assert "gadgetkeeper" not in left.run("import os; print(os.listdir('/'))")
    assert twin.files() == {**deployed(), **OWN, **users}
    assert "removed: /agent.mpy, /board.mpy, /gadgetkeeper/api.mpy" in capsys.readouterr().out


@pytest.mark.vm
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # pyserial's own
@pytest.mark.parametrize("tool", ["mpremote", "ampy"])
def test_a_board_behind_rfc2217_is_a_board(tmp_path, tool):
    twin = make_board(tmp_path / "flash.bin", {**deployed(), **OWN, "/main.py": b""})
    with repl.running(twin) as board:
        line = Rfc2217(board.url)
        assert deploy(line.url, "--tool", tool) == 0
        line.close()
    assert twin.files() == {**deployed(), **OWN}


@pytest.mark.vm
def test_source_replaces_the_compiled_agent_where_there_is_room(tmp_path, capsys):
    """Both forms do not fit the file system of a board with 4 MiB of flash."""
    before = {**deployed(), **OWN, "/main.py": b""}
    small = make_board(tmp_path / "small.bin", before)
    with repl.running(small) as board:
        assert deploy(board.url, "--source") == 1
    assert "FORCE=1" in capsys.readouterr().err and small.files() == before
    large = make_board(tmp_path / "large.bin", before, flash_bytes=SOURCE_FLASH_BYTES)
    with repl.running(large) as board:
        assert deploy(board.url, "--source") == 0
    assert large.files() == {**deployed_source(), **OWN}


@pytest.mark.vm
@pytest.mark.parametrize("sent_bytes", [300, 3500, 6500])
def test_a_line_that_breaks_leaves_the_old_agent_whole_and_the_board_deployable(tmp_path, capsys, sent_bytes):
    before = nearly_new()
    twin = make_board(tmp_path / "flash.bin", before)
    with repl.running(twin) as board:
        line = Line(board.url, breaks_after=sent_bytes)
        assert deploy(line.url) == 1
        assert "broke" in capsys.readouterr().err
        left = {path: content for path, content in twin.files().items() if not path.endswith(".part")}
        assert left == before
        assert deploy(board.url) == 0
    assert twin.files() == {**deployed(), **OWN}


@pytest.mark.vm
def test_a_line_that_damages_is_noticed_before_anything_is_changed(tmp_path, capsys):
    before = nearly_new()
    twin = make_board(tmp_path / "flash.bin", before)
    with repl.running(twin) as board:
        line = Line(board.url, turns=(b"more('TQYA", b"more('TQYB"))
        assert deploy(line.url) == 1
    assert "/release/board/__init__.mpy arrived damaged" in capsys.readouterr().err
    assert {path: content for path, content in twin.files().items() if not path.endswith(".part")} == before


@pytest.mark.vm
def test_a_boot_py_that_never_ends_is_interrupted(tmp_path):
    loop = b"while True:\n    try:\n        print('busy')\n    except OSError:\n        pass\n"
    twin = make_board(tmp_path / "flash.bin", {**nearly_new(), "/boot.py": loop})
    with repl.running(twin) as board:
        assert deploy(board.url) == 0
    assert twin.files() == {**deployed(), **OWN}


@pytest.mark.vm
def test_a_board_without_two_ota_slots_is_refused_unless_forced(tmp_path, capsys):
    before = {**nearly_new(), "/main.py": b"import time\nwhile True:\n    print('old main')\n    time.sleep(0.1)\n"}
    twin = make_board(tmp_path / "flash.bin", before, ONE_SLOT)
    with repl.running(twin) as board:
        assert deploy(board.url) == 1
        said = capsys.readouterr().err
        assert "no two OTA slots" in said and "make factory" in said and "FORCE=1" in said
        assert twin.files() == before
        listen(board.url, b"old main")
        assert deploy(board.url, "--force") == 0
    assert "no two OTA slots" in capsys.readouterr().out
    assert twin.files() == {**deployed(), **OWN}


@pytest.mark.vm
@pytest.mark.parametrize("is_foreseen", [True, False])
def test_a_full_board_is_left_as_it_is(tmp_path, capsys, monkeypatch, is_foreseen):
    if not is_foreseen:
        monkeypatch.setattr("tools.deploy.deploy._fits", lambda facts, new: True)
    twin = make_board(tmp_path / "flash.bin", nearly_new())
    with repl.running(twin) as board:
        with Board(board.url) as full:
            full.run(FILL)
        before = twin.files()
        assert deploy(board.url) == 1
    said = capsys.readouterr().err
    assert "nothing has been changed" in said and said.count("\n") == 1
    assert twin.files() == before


@pytest.mark.vm
def test_a_micropython_without_a_compiler_gets_source(tmp_path, capsys, monkeypatch):
    def refuse(version):
        raise agent.AgentFilesError(f"there is no compiler for MicroPython {version}")

    monkeypatch.setattr(agent, "compiled_files", refuse)
    twin = make_board(tmp_path / "flash.bin", {**OWN, "/main.py": b""}, flash_bytes=SOURCE_FLASH_BYTES)
    with repl.running(twin) as board:
        assert deploy(board.url) == 0
    assert "no compiler for MicroPython" in capsys.readouterr().out
    assert twin.files() == {**deployed_source(), **OWN}


@pytest.mark.parametrize(
    "port, reason",
    [
        ("/dev/no-such-port", "there is no port /dev/no-such-port"),
        ("gopher://127.0.0.1:1", "no such kind of port"),
        ("socket://127.0.0.1:1", "cannot be reached"),
        ("id:0000-no-such-board", "no board with the USB serial number"),
        (os.devnull, "/dev/null is no serial port"),
    ],
)
@pytest.mark.parametrize("tool", ["mpremote", "ampy"])
def test_a_wrong_port_is_one_sentence_and_status_1(capsys, port, reason, tool):
    assert deploy(port, "--tool", tool) == 1
    said = capsys.readouterr().err
    assert reason in said and said.count("\n") == 1


@pytest.mark.parametrize("tool", ["mpremote", "ampy"])
def test_a_port_in_use_is_said_to_be(capsys, tool):
    _, slave = pty.openpty()
    path = os.ttyname(slave)
    with serial.serial_for_url(path, exclusive=True):
        assert deploy(path, "--tool", tool) == 1
    assert f"{path} is in use by another program" in capsys.readouterr().err


def test_a_port_without_permission_names_the_group():
    error = serial.SerialException(13, "could not open port /dev/ttyUSB0: [Errno 13] Permission denied")
    assert "dialout" in refusal("/dev/ttyUSB0", error)
    windows = serial.SerialException("could not open port 'COM3': PermissionError(13, 'Access is denied.', None, 5)")
    assert "in use by another program" in refusal("COM3", windows)
    missing = serial.SerialException("could not open port 'COM9': FileNotFoundError(2, 'cannot find', None, 2)")
    assert "there is no port COM9" in refusal("COM9", missing)


@pytest.mark.parametrize(
    "says, reason",
    [
        (b"", "nothing answers"),
        (b"hello, I am a modem\r\n", "does not give its REPL"),
        (b"rst:0x1 (POWERON_RESET),boot:0x3 (DOWNLOAD_BOOT)\r\nwaiting for download\r\n", "download mode"),
        (b"invalid header: 0xffffffff\r\n", "no firmware on the board"),
    ],
)
def test_what_is_no_micropython_is_said_to_be_none(capsys, says, reason):
    stranger = Stranger(says)
    assert main(["deploy", "--port", stranger.url, "--wait", "1"]) == 1
    stranger.close()
    said = capsys.readouterr().err
    assert reason in said and said.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["deploy"],
        ["deploy", "--port", ""],
        ["deploy", "--port", "/dev/tty USB0"],
        ["deploy", "--port", "auto", "--tool", "rshell"],
        ["status", "--port", "auto", "--wait", "0"],
    ],
)
def test_wrong_arguments_are_one_line_and_status_2(capsys, arguments):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    said = capsys.readouterr().err
    assert ended.value.code == 2 and said.startswith("deploy: ") and said.count("\n") == 1


def test_package_json_lists_the_agents_files():
    assert mip.PACKAGE.read_text() == mip.package(), "make package"
    for target, source in json.loads(mip.package())["urls"]:
        assert (mip.PACKAGE.parent / source).read_bytes() == deployed_source()["/" + target]


@pytest.mark.vm
def test_mip_installs_the_package_where_the_board_starts(tmp_path):
    (tmp_path / "device").mkdir()
    urls = [["boot.py", "boot.py"], ["release/agent/backoff.py", "device/backoff.py"]]
    (tmp_path / "package.json").write_text(json.dumps({"urls": urls}))
    (tmp_path / "boot.py").write_bytes(b"boot = 1\n")
    (tmp_path / "device" / "backoff.py").write_bytes(b"backoff = 1\n")
    twin = make_board(tmp_path / "flash.bin", {})
    with repl.running(twin) as board:
        command = [sys.executable, "-m", "mpremote", "connect", board.url, "mip", "install", "--target", "/"]
        subprocess.run([*command, str(tmp_path / "package.json")], check=True, timeout=20, capture_output=True)
    assert twin.files() == {"/boot.py": b"boot = 1\n", "/release/agent/backoff.py": b"backoff = 1\n"}


@pytest.mark.vm
def test_the_console_shows_what_the_board_says_and_sends_what_is_typed(tmp_path):
    twin = make_board(tmp_path / "flash.bin", {"/main.py": b"print('started')\n"})
    with repl.running(twin) as board:
        for port in (board.url, board.path):
            heard, status = _type(["console", "--port", port], b"print(6*7)\r", b"\r\n42\r\n")
            assert status == 0 and b"\r\n42\r\n" in heard


@pytest.mark.vm
def test_a_firmware_on_trial_is_named_and_the_command_line_of_the_virtual_board_works(tmp_path, capsys):
    flash = tmp_path / "flash.bin"
    make_board(flash, {**deployed(), **OWN, "/main.py": b""})
    with flash.open("r+b") as file:
        otadata.write_record(Flash(file), 0xD000, 0, 1, otadata.NEW)
    command = [sys.executable, "-m", "tools.twin.repl", "--flash", str(flash)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as board:
        url = board.stdout.readline().split()[3]
        assert main(["status", "--port", url]) == 0
        assert "PENDING_VERIFY: on trial (this one counts)" in capsys.readouterr().out
        assert deploy(url) == 0
        board.terminate()
    assert "a firmware was on trial" in capsys.readouterr().out
    assert board.returncode == 0


def test_the_console_without_a_terminal_says_so(capsys):
    assert main(["console", "--port", "socket://127.0.0.1:1"]) == 1
    assert "needs a terminal" in capsys.readouterr().err


def _type(arguments, keys, until):
    """Type into a terminal where this command runs, until it shows what is expected; then Ctrl-]."""
    child, terminal = pty.fork()
    if child == 0:
        os.execv(sys.executable, [sys.executable, "-m", "tools.deploy", *arguments])
    heard = b""
    try:
        while b"Ctrl-]" not in heard:
            heard += os.read(terminal, 4096)
        while until not in heard:
            os.write(terminal, keys)  # again, if the board was not there yet
            while until not in heard and select.select([terminal], [], [], 0.5)[0]:
                heard += os.read(terminal, 4096)
        os.write(terminal, b"\x1d")
        while True:
            heard += os.read(terminal, 4096)
    except OSError:  # the terminal's end
        pass
    return heard, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
