"""The command and the make targets: what a person types arrives as it was typed, or is refused."""

import json
import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tools import factory, firmware
from tools.factory.__main__ import main
from tools.thermometer import _COMMANDS

ROOT = factory.ROOT
THERMOMETER = Path(sys.executable).with_name("thermometer")
COMBINED = firmware.combined_image("1.27.0")
NASTY = " $9wo\"rd'\\n#%s`id`$(id) 😀 "
LONGEST = "$HOME #%\\\"' " + "x" * 50 + " "
ORDER = ["--serial=A1", "--server=http://192.0.2.1", f"--firmware={COMBINED}"]
DEADLINE_S = 120

assert len(LONGEST) == 63 and len(NASTY.encode()) <= 32


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in ("WIFI_PASSWORD", "WIFI_SSID", "MAKEFLAGS", "MAKELEVEL"):
        monkeypatch.delenv(name, raising=False)


def wifi_on_flash(path: Path) -> list:
    """What lies on the flash, as UTF-8 without escapes: MicroPython does not join the two halves of one."""
    content = factory.read_files(path.read_bytes())["/config.json"]
    assert b"\\u" not in content
    return json.loads(content.decode())["wifi"]


def run(*command, **variables) -> subprocess.CompletedProcess:
    environment = {**os.environ, **variables}
    return subprocess.run(
        list(map(str, command)), env=environment, cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE_S
    )


TEXTS = [
    "secret$9word",
    "$$(HOME)${HOME}",
    "  spaces at both ends  ",
    "\"double\" 'single'",
    "back\\slash\\n\\",
    "#no comment#",
    "100%s%%d%n",
    "😀 emoji 👨‍👩‍👧",
    "p\u00e4ssw\u00f6rd\u00a0",
    NASTY,
    LONGEST,
]


@pytest.mark.parametrize("way", ["environment", "file", "file with a line end", "file of a Windows editor"])
@pytest.mark.parametrize("text", TEXTS)
def test_what_is_typed_is_what_lies_on_flash(tmp_path, monkeypatch, capsys, text, way):
    name = text if len(text.encode()) <= 32 else NASTY
    words = ["factory", *ORDER, "--wifi-ssid", name, f"--out={tmp_path / 'image.bin'}"]
    if way == "environment":
        monkeypatch.setenv("WIFI_PASSWORD", text)
    else:
        form = {"file": "{}", "file with a line end": "{}\n", "file of a Windows editor": "\ufeff{}\r\n"}[way]
        (tmp_path / "password").write_bytes(form.format(text).encode())
        words.append(f"--wifi-password-file={tmp_path / 'password'}")
    assert main(words) == 0
    assert wifi_on_flash(tmp_path / "image.bin") == [[name, text]]
    assert text == name or text not in capsys.readouterr().out


def test_installed_command_changes_nothing(tmp_path):
    out = tmp_path / "image.bin"
    done = run(THERMOMETER, "factory", *ORDER, "--wifi-ssid", NASTY, f"--out={out}", WIFI_PASSWORD=LONGEST)
    assert (done.returncode, done.stderr) == (0, "")
    assert wifi_on_flash(out) == [[NASTY, LONGEST]] and LONGEST not in done.stdout


def test_make_changes_nothing_of_its_environment(tmp_path):
    out = tmp_path / "image.bin"
    text = {"WIFI_SSID": NASTY, "WIFI_PASSWORD": LONGEST}
    done = run("make", "factory", "SERIAL=A1", "SERVER=http://192.0.2.1", f"OUT={out}", **text)
    assert done.returncode == 0, done.stderr
    assert wifi_on_flash(out) == [[NASTY, LONGEST]] and LONGEST not in done.stdout


def test_password_on_makes_command_line_is_refused(tmp_path):
    """make has changed it by then, and everybody has seen it in the list of processes."""
    for target in ("factory", "batch"):
        done = run("make", target, "SERIAL=A1", f"OUT={tmp_path / 'x'}", "WIFI_SSID=home", "WIFI_PASSWORD=secret$9word")
        assert done.returncode == 2 and len(done.stderr.splitlines()) == 1, done
        assert f"WIFI_PASSWORD=… make {target}" in done.stderr and f"thermometer {target}" in done.stderr
        assert "word" not in done.stderr.replace("WIFI_PASSWORD", "")
    done = run("make", "publish", "VERSION=1", "FIRMWARE=x", "GADGETKEEPER_PASSWORD=secret")
    assert done.returncode == 2 and "GADGETKEEPER_PASSWORD=… make publish" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "words",
    [
        ["factory", "WIFI_SSID=ho$me"],
        ["factory", "SERVER=http://a$b"],
        ["batch", "PRODUCT=$x"],
        ["publish", "DESCRIPTION=costs 5$ more"],
        ["flash", "IMAGE=$x"],
        ["twin", "IMAGE=$x"],
    ],
)
def test_dollar_on_makes_command_line_is_refused_instead_of_expanded(words):
    done = run("make", *words)
    name = words[1].partition("=")[0]
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert f"{name} holds $, which make expands" in done.stderr and f"thermometer {words[0]} --help" in done.stderr


def test_quotes_on_makes_command_line_run_nothing(tmp_path):
    done = run("make", "factory", f'SERIAL=x"; touch {tmp_path / "run"}; echo "`touch {tmp_path / "run"}`')
    assert done.returncode == 2 and not list(tmp_path.iterdir()), done


def typed(*command, answer: str, environment: dict[str, str]) -> tuple[int, str]:
    """Run a command on a terminal of its own, type `answer` when it asks; its status and what the terminal showed."""
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(ROOT)
        os.execve(command[0], list(map(str, command)), environment)
    shown, deadline, asked = "", time.monotonic() + DEADLINE_S, False
    while time.monotonic() < deadline:
        if not select.select([terminal], [], [], 1)[0]:
            continue
        try:
            shown += os.read(terminal, 4096).decode(errors="replace")
        except OSError:  # the other end is closed
            break
        if not asked and "password of WiFi" in shown:
            asked = True
            os.write(terminal, answer.encode())
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), shown


@pytest.mark.parametrize("answer", [NASTY, LONGEST])
def test_password_that_is_asked_for_is_not_shown(tmp_path, answer):
    out = tmp_path / "image.bin"
    words = [THERMOMETER, "factory", *ORDER, "--wifi-ssid", "home", f"--out={out}"]
    status, shown = typed(*words, answer=answer + "\n", environment=dict(os.environ))
    assert status == 0, shown
    assert wifi_on_flash(out) == [["home", answer]]
    assert answer not in shown and "not shown" in shown


def test_ctrl_c_at_the_question_ends_with_one_line(tmp_path):
    words = [THERMOMETER, "factory", *ORDER, "--wifi-ssid", "home", f"--out={tmp_path / 'x'}"]
    for key in ("\x03", "\x04"):
        status, shown = typed(*words, answer=key, environment=dict(os.environ))
        assert status == 1 and "factory: interrupted" in shown and "Traceback" not in shown


def test_password_as_an_argument_is_refused_and_not_repeated(tmp_path, capsys):
    for words in (["--wifi-password=hush9word"], ["--wifi-password", "hush9word"]):
        assert main(["factory", *ORDER, f"--out={tmp_path / 'x'}", "--wifi-ssid=home", *words]) == 2
        told = capsys.readouterr().err
        assert "--wifi-password-file" in told and "hush9word" not in told and told.count("\n") == 1


def test_password_files_that_hold_none(tmp_path, capsys, monkeypatch):
    path = tmp_path / "password"
    words = ["factory", *ORDER, f"--out={tmp_path / 'x'}", f"--wifi-password-file={path}"]
    for content, told in (
        (b"hush9word\nhush9word\n", "more than one line"),
        ("hush9word".encode("utf-16"), "UTF-16"),
        (b"hush9\xffword", "no UTF-8"),
        (b"hush9word\x00", "8 to 63 bytes"),
    ):
        path.write_bytes(content)
        assert main([*words, "--wifi-ssid=home"]) == 1
        error = capsys.readouterr().err
        assert told in error and "hush9" not in error and error.count("\n") == 1
    assert main(words) == 2 and "WIFI_SSID=…" in capsys.readouterr().err
    monkeypatch.setenv("WIFI_PASSWORD", "another one")
    path.write_text("hush9word")
    assert main([*words, "--wifi-ssid=home"]) == 2 and "two WiFi passwords" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["a\x1b[2Jb", "a\nb", "a\x00b", "a\u2028b", "\udcff"])
def test_names_with_control_characters_are_refused_and_not_shown_raw(tmp_path, capsys, monkeypatch, name):
    monkeypatch.setenv("WIFI_PASSWORD", "not to be seen")
    common = ["--server=http://192.0.2.1", f"--firmware={COMBINED}"]
    for words in (
        ["factory", *common, "--serial=A1", f"--out={tmp_path / 'x'}", f"--wifi-ssid={name}"],
        ["factory", *common, "--serial=A1", f"--out={tmp_path}/{name}"],
        ["factory", *common, f"--serial={name}", f"--out={tmp_path / 'x'}"],
        ["factory", f"--server=http://{name}", "--serial=A1", f"--out={tmp_path / 'x'}"],
        ["batch", *common, f"--serials={COMBINED}", f"--out={tmp_path / 'x'}", f"--product={name}"],
        ["flash", f"--port={name}", f"--image={COMBINED}"],
    ):
        assert main(words) in (1, 2), words
        told = capsys.readouterr().err
        assert told.count("\n") == 1 and told.rstrip("\n").isprintable(), words
    assert not list(tmp_path.iterdir())


def test_command_lists_what_there_is_and_names_what_there_is_not():
    done = run(THERMOMETER, "--help")
    assert done.returncode == 0 and all(f"  {name} " in done.stdout for name in _COMMANDS)
    done = run(THERMOMETER, "fabric\x1b[2J")
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert r"there is no command 'fabric\x1b[2J'; there are factory" in done.stderr


@pytest.mark.parametrize("name", list(_COMMANDS))
def test_every_command_is_there(name):
    done = run(THERMOMETER, name, "--help")
    assert done.returncode == 0 and done.stdout.startswith("usage: "), done.stderr


def test_full_disk_and_read_only_disk_are_sentences(capsys, monkeypatch, tmp_path):
    import errno

    for number, told in ((errno.ENOSPC, "the disk is full"), (errno.EROFS, "this disk is read-only: name another")):

        def fail(*_, number=number):
            raise OSError(number, os.strerror(number), str(tmp_path / "image.bin"))

        with monkeypatch.context() as patch:
            patch.setattr("tools.factory.__main__.write_whole", fail)
            assert main(["factory", *ORDER, f"--out={tmp_path / 'image.bin'}"]) == 1
        error = capsys.readouterr().err
        assert told in error and "Errno" not in error and str(tmp_path) in error
