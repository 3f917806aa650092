"""The twin's two runtimes behave as one board: files, errors and resets are those of MicroPython on littlefs."""

import subprocess
import sys

import pytest

from tools import factory, firmware
from tools.twin.device import Twin, TwinError

ON_BOTH = [pytest.param("vm", marks=pytest.mark.vm), "cpython"]
VFS = factory.place("vfs", factory.LAYOUT)


def twin(tmp_path, runtime, main, **more):
    path = tmp_path / "flash.bin"
    files = {"/main.py": main.encode(), **{name: text.encode() for name, text in more.items()}}
    path.write_bytes(factory.flash_image(firmware.combined_image("1.27.0"), files))
    return Twin(path, runtime)


def printed(result):
    """What the programs printed, without the lines about power."""
    return [line for line in result.console.splitlines() if not line.startswith("--")]


FILES = """
import os
def write(path, text, mode="w"):
    with open(path, mode) as file:
        return file.write(text)
def show(call, *arguments):
    try:
        print(call(*arguments))
    except OSError as error:
        print("errno", error.errno)
def fill():
    with open("/big", "wb") as file:
        while True:
            file.write(bytes(4096))
show(open, "/none")
show(os.rename, "/none", "/other")
show(os.remove, "/none")
show(os.stat, "/none")
show(os.listdir, "/none")
show(os.listdir, "/")
show(os.mkdir, "/lib")
show(os.mkdir, "/lib")
show(open, "/lib")
show(write, "/lib/mine.py", "answer = 42")
import mine
print(mine.answer)
show(write, "note", "one\\r\\n")
show(write, "/note", "two", "a")
show(lambda: open("/note").read() == "one\\r\\ntwo")
show(lambda: os.stat("/note")[6])
show(os.rename, "/note", "/lib/mine.py")
show(lambda: open("/lib/mine.py", "rb").read())
show(os.rmdir, "/lib")
show(fill)
show(os.remove, "/big")
"""


@pytest.mark.parametrize("runtime", ON_BOTH)
def test_files_and_their_errors_are_those_of_the_board(tmp_path, runtime):
    result = twin(tmp_path, runtime, FILES).power_on()
    expected = ["errno 2"] * 5 + ["['main.py']", "None", "errno 17", "errno 21", "11", "42", "5", "3", "True", "8"]
    assert printed(result) == [*expected, "None", "b'one\\r\\ntwo'", "errno 39", "errno 28", "None"]


@pytest.mark.parametrize("runtime", ON_BOTH)
def test_a_damaged_file_system_is_not_formatted(tmp_path, runtime):
    board = twin(tmp_path, runtime, "print('never')")
    with open(board.flash_path, "r+b") as file:
        file.seek(VFS.address)
        file.write(b"\0" * 8192)
    damaged = board.slot_bytes("vfs", VFS.size)
    assert "never" not in board.power_on(max_boots=1).console
    assert board.slot_bytes("vfs", VFS.size) == damaged


@pytest.mark.parametrize("runtime", ON_BOTH)
@pytest.mark.parametrize("leave", ["import sys; sys.exit()", "import machine; machine.soft_reset()"])
def test_a_soft_reset_restarts_python_and_leaves_a_trial_alone(tmp_path, runtime, leave):
    main = f"""
import machine, esp32
state = bytearray(1)
esp32.Partition("otadata").readblocks(1, state, 24)
print("soft", machine.reset_cause() == machine.SOFT_RESET, "state", state[0])
if state[0] == 255:
    other, own, block = esp32.Partition("ota_1"), esp32.Partition(1), bytearray(4096)
    for number in range(415):
        own.readblocks(number, block)
        other.writeblocks(number, block)
    other.set_boot()
    machine.reset()
{leave}
"""
    result = twin(tmp_path, runtime, main).power_on(max_boots=3)
    assert printed(result) == ["soft False state 255", "soft False state 1", "soft True state 1"]


@pytest.mark.parametrize("runtime", ON_BOTH)
def test_a_deep_sleep_wake_leaves_a_trial_pending(tmp_path, runtime):
    main = """
import machine, esp32
woke = machine.reset_cause() == machine.DEEPSLEEP_RESET
state = bytearray(1)
esp32.Partition("otadata").readblocks(1, state, 24)
print("woke", woke, "state", state[0])
if not woke:
    record = bytearray(b"\\x02\\0\\0\\0" + b"\\xff" * 20 + b"\\x01\\0\\0\\0\\x74\\x37\\xf6\\x55")
    esp32.Partition("otadata").writeblocks(1, record, 0)
    machine.deepsleep(1)
"""
    result = twin(tmp_path, runtime, main).power_on(max_boots=2)
    assert printed(result) == ["woke False state 255", "woke True state 1"]


@pytest.mark.parametrize("runtime", ON_BOTH)
def test_a_board_without_boot_py_starts_main_py(tmp_path, runtime):
    assert printed(twin(tmp_path, runtime, "print('main')").power_on()) == ["main"]


@pytest.mark.parametrize("runtime", ON_BOTH)
def test_part_of_a_line_is_heard_at_once(tmp_path, runtime):
    main = "import time\nprint('#', end='')\nwhile True: time.sleep(1)"
    result = twin(tmp_path, runtime, main).power_on(timeout_s=10, until=lambda console: console.endswith("#"))
    assert result.reason == "until"


def test_a_flash_without_a_bootable_app_is_one_line_and_status_2(tmp_path):
    board = twin(tmp_path, "cpython", "", **{"/serial.txt": "A\n"})
    with open(board.flash_path, "r+b") as file:
        file.seek(0x10000)
        file.write(b"\xff" * 4096)
    with pytest.raises(TwinError, match="no bootable app"):
        board.power_on()
    command = [sys.executable, "-m", "tools.twin", "--serial", "A", "--server", "http://x", "--flash", board.flash_path]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1, done.stderr
