"""What the agent may cost a board, measured on the MicroPython VM: memory, flash and requests.

CPU times are no test's business; `make bench` shows them. What each figure means: docs/performance.md.
"""

import pytest

from tools import agent
from tools.proof.bench import measure, size, world
from tools.proof.bench.board import How
from tools.twin.paths import DEVICE

# Above idle, the agent's own code included. The goal is 36 KiB; what it is, and why, says docs/performance.md.
HEAP_MOST_BYTES = 47 * 1024
INFLATING_HEAP_MOST_BYTES = 56 * 1024  # with the inflater's window and its code
PIECES_BYTES = (4160, 2080)  # with the larger ones it takes whole sectors, with the smaller ones it makes do
STATE_WRITES = 6
HELD_BYTES = 15 * 1024  # on this 64-bit VM; half of it on a board

pytestmark = pytest.mark.vm
MEASURED = ("ours raw", "ours string signed", "ours delta code", "ours compressed code")  # all: make bench
EACH_FORM = ("ours raw", "ours string", "ours object")


@pytest.fixture(scope="module")
def contenders():
    with world.contenders(tuple(dict.fromkeys((*MEASURED, *EACH_FORM, "floor raw", "naive")))) as found:
        yield found


@pytest.fixture(scope="module")
def counted(contenders, tmp_path_factory):
    """One update in each form, counted, and the board after it."""
    flash = tmp_path_factory.mktemp("budgets") / "flash.bin"
    figures = {name: measure.count(contenders[name], flash if name == EACH_FORM[0] else None) for name in EACH_FORM}
    assert not any(each.failure for each in figures.values()), figures
    return figures, flash


@pytest.fixture(scope="module")
def in_step(contenders, counted):
    return measure.in_step(counted[1], contenders[EACH_FORM[0]])


def test_modules_together_fit_their_share_of_the_file_system():
    files = agent.compiled_files(device=DEVICE)
    assert size.agent_bytes(files) <= size.BUDGET_BYTES


@pytest.mark.parametrize("name", MEASURED)
def test_update_takes_no_more_heap_than_it_used_to(contenders, name):
    inflates = "delta" in name or "compressed" in name
    most_bytes = INFLATING_HEAP_MOST_BYTES if inflates else HEAP_MOST_BYTES
    assert measure.live_bytes(contenders[name]) <= most_bytes


@pytest.mark.parametrize("piece_bytes", PIECES_BYTES)
@pytest.mark.parametrize("name", ("ours raw", "ours string"))
def test_update_gets_by_with_a_fragmented_heap(contenders, name, piece_bytes):
    run = measure.update(contenders[name], How(piece_bytes=piece_bytes))
    assert run.succeeded, f"{piece_bytes} bytes in one piece do not suffice:\n{run.boots[-1].console}"


def test_update_writes_each_sector_once_none_behind_the_image_and_the_record_seldom(counted):
    for name, figures in counted[0].items():
        assert figures.erased == figures.sectors and figures.sectors_not_once == [0], (
            f"{name}: twice, for the held-back first bytes"
        )
        assert figures.sectors_outside == [], f"{name}: sectors behind the image were touched"
        assert 0 < figures.state_writes <= STATE_WRITES, name


def test_update_asks_for_the_firmware_once(counted):
    for figures in counted[0].values():
        assert len([line for line in figures.requests if line.endswith("/firmware.json")]) == 1, figures.requests


def test_boot_in_step_makes_one_request_and_writes_nothing(in_step):
    assert len(in_step.requests) == in_step.connections == 1, in_step.requests
    assert in_step.flash_writes == 0


def test_agent_is_nearly_gone_when_the_thermometer_measures(in_step):
    """The product is a phase like the agent's: what the loop hands to both stays, which is `agent.device` with record,
    settings, schedule and console, the errors' classes and the runner. Everything that was a phase is gone."""
    stays = {
        "agent",
        *(f"agent.{name}" for name in ["console", "device", "errors", "loop", "record", "runner", "schedule"]),
        "board",
    }
    rooms = ("agent", "board", "gadgetkeeper", "main", "net", "ota")
    assert {name for name in in_step.modules if name.partition(".")[0] in rooms} == stays
    assert in_step.held_bytes <= HELD_BYTES, f"and {in_step.held_names} names"


def test_limits_on_heap_and_pieces_bite_where_they_say(contenders):
    """An updater whose need is known passes at it and fails right below."""
    floor = contenders["floor raw"]
    assert measure.fits(floor, piece_bytes=4096), "its sector buffer, the largest thing it needs"
    assert not measure.fits(floor, piece_bytes=4064)
    assert measure.fits(floor, free_bytes=measure.HEAP_BYTES), "more than is free to begin with"
    assert measure.fits(floor, free_bytes=16_384)
    assert not measure.fits(floor, free_bytes=4096)


def test_updater_that_holds_the_whole_answer_is_told_from_one_that_does_not(contenders):
    assert measure.count(contenders["naive"]).failure.startswith("MemoryError")
