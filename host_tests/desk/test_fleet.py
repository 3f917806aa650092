"""A small fleet comes back after a black-out: it gets there, it is the same every time, and jitter is what helps."""

import re
import subprocess
import sys

import pytest

from tools.twin.paths import DEVICE


def fleet(*arguments):
    command = [sys.executable, "-m", "tools.proof.fleet", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def rows(console):
    """The table: {figure: [with jitter, without jitter]}."""
    lines = [re.split(r"\s*│\s*", line.strip(" │")) for line in console.splitlines() if line.startswith("│")]
    return {cells[0]: cells[1:] for cells in lines}


def test_fleet_comes_in_step_and_only_with_jitter_soon(tmp_path):
    first, again = (
        fleet("--n", 60, "--seed", 3, "--day", 0, "--picture", tmp_path / name) for name in ("a.svg", "b.svg")
    )
    assert first.returncode == 0, first.stdout + first.stderr
    table = rows(first.stdout)
    assert table["in step"][0] == "60 of 60" and "min" in table["99 % in step after"][0]
    assert table["99 % in step after"][1] == "never", "without jitter it works as well: then nothing is shown"
    assert rows(again.stdout) == table, "the same seed gives another fleet"
    picture = (tmp_path / "a.svg").read_text()
    assert picture == (tmp_path / "b.svg").read_text()
    assert picture.count("requests per second") == 2 and len(picture) < 400_000


def test_day_without_a_server_costs_few_restarts_and_no_storm():
    done = fleet("--n", 5, "--day", 8, "--seed", 2)
    assert done.returncode == 0, done.stdout + done.stderr
    table = rows(done.stdout)
    assert 4 <= float(table["restarts of each"][0]) <= 6
    assert int(table["requests of each in an hour"][0]) < 75, "more than its reports and a round now and then"
    assert table["in step again"] == ["8 of 8"]


def test_board_that_restarts_at_each_failure_is_a_failure(tmp_path):
    device = tmp_path / "device"
    subprocess.run(["cp", "-r", DEVICE, device], check=True)
    outage = device / "agent" / "outage.py"
    text = outage.read_text()
    assert "_RESTART_S << doublings" in text
    outage.write_text(text.replace("_RESTART_S << doublings", "_RESTART_S"))
    done = fleet("--n", 5, "--day", 4, "--device", device)
    assert done.returncode == 1 and "a storm of restarts" in done.stdout, done.stdout + done.stderr


def test_fleet_that_does_not_come_in_step_is_a_failure(tmp_path):
    device = tmp_path / "device"
    subprocess.run(["cp", "-r", DEVICE, device], check=True)
    backoff = device / "agent" / "backoff.py"
    text = backoff.read_text()
    assert "random.randrange(limit_s)" in text
    backoff.write_text(text.replace("random.randrange(limit_s)", "limit_s"))
    done = fleet("--n", 60, "--day", 0, "--device", device)
    assert done.returncode == 1 and "never came in step" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize(
    "arguments", [["--n", 0], ["--n", "x"], ["--day", -1], ["--capacity", 0], ["--device", "/nowhere"]]
)
def test_wrong_arguments_are_one_line_and_status_2(arguments):
    done = fleet(*arguments)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1, done.stderr
