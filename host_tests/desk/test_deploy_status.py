"""make status: a board's facts in words, and never a secret."""

import json

import pytest

from host_tests.fakes.console_line import API_KEY, OWN, PASSWORD, SERIAL, Line, listen, make_board
from tools.deploy import status
from tools.deploy.__main__ import main
from tools.twin import otadata, repl

THING = "ccee2e961501a77d59d3fe30a90a1347"
VERSION = "bba6b7e37fb31a19ebd680fc37f478b1"
ALIVE = {"/main.py": b"import time\nwhile True:\n    print('alive')\n    time.sleep(0.1)\n"}


def found(**parts):
    """What the snippet answers for a board in step, with some of it replaced."""
    answer = {
        "machine": "Generic ESP32 module with ESP32",
        "micropython": "1.28.0",
        "agent": "compiled",
        "serial": SERIAL,
        "state": {
            "thingId": THING,
            "versionId": VERSION,
            "slot": "ota_1",
            "confirmed": True,
            "has_key": True,
            "update": None,
            "verdict": None,
        },
        "config": {"server": "http://api.gadgetkeeper.com", "wifi": ["home"], "signing_keys": 0},
        "owner": None,
        "chip": {
            "partitions": [
                [0, 16, 0x10000, 0x1C0000, "ota_0", False],
                [0, 17, 0x1D0000, 0x1C0000, "ota_1", False],
                [1, 0, 0xD000, 0x2000, "otadata", False],
            ],
            "images": {"ota_0": "v5.5.1", "ota_1": "v5.5.1"},
            "otadata": [[1, otadata.VALID, True], [2, otadata.VALID, True]],
            "running": "ota_1",
            "chosen": "ota_1",
        },
        "free_bytes": 300 * 1024,
        "size_bytes": 448 * 1024,
    }
    return {**answer, **parts}


def words(**parts):
    return dict(status.lines(found(**parts)))


@pytest.mark.vm
def test_a_boards_facts_are_said_and_the_thermometer_goes_on(tmp_path, capsys):
    twin = make_board(tmp_path / "flash.bin", {**OWN, **ALIVE, "/release/ota/plan.mpy": b"M\x06"})
    with repl.running(twin) as board:
        before = twin.files()
        assert main(["status", "--port", board.url]) == 0
        listen(board.url, b"alive\r\nalive\r\n")
    said = dict(line.split("  ", 1) for line in capsys.readouterr().out.splitlines() if "  " in line)
    said = {what.strip(): how.strip() for what, how in said.items()}
    assert said["serial number"] == SERIAL
    assert said["thing"] == f"{THING}, with an API key"
    assert said["runs"] == "ota_0, and the next reset starts the same"
    assert said["otadata 0"] == "sequence 1, ota_0, VALID: has proven itself (this one counts)"
    assert said["otadata 1"] == "blank"
    assert said["WiFi"] == "home" and said["agent"] == "compiled (.mpy)"
    assert twin.files() == before


@pytest.mark.vm
def test_no_secret_leaves_the_board(tmp_path, capsys):
    secrets = [API_KEY, PASSWORD, "flat-password", "third-entry", "user-password", "query-key", "ca-key"]
    config = {
        "server": "https://user:user-password@host:8443/?ApiKey=query-key",
        "wifi": [
            ["home", PASSWORD],
            "flat-name",
            "flat-password",
            ["a", "b", "third-entry"],
            [],
            ["office", PASSWORD, ["10.0.0.2"]],
        ],
        "signing_keys": ["0" * 64],
        "secret_setting": "ca-key",
    }
    state = {"thingId": THING, "apiKey": API_KEY, "verdict": {"versionId": VERSION, "code": API_KEY + " " + PASSWORD}}
    state["update"] = {"versionId": VERSION, "slot": "ota_1", "attempts": 1, "phase": PASSWORD + "!", "etag": API_KEY}
    files = {**OWN, "/config.json": json.dumps(config).encode(), "/state.json": json.dumps(state).encode()}
    owner = {"network": "Café".encode().hex(), "password": PASSWORD, "name": "third-entry"}
    files["/owner.json"] = json.dumps(owner).encode()
    twin = make_board(tmp_path / "flash.bin", files)
    with repl.running(twin) as board:
        line = Line(board.url)
        assert main(["status", "--port", line.url]) == 0
    said = capsys.readouterr()
    assert "https://host:8443\n" in said.out and "(not a [name, password] pair), office\n" in said.out
    assert " Café (the owner's), home, " in said.out
    for secret in secrets:
        assert secret not in said.out + said.err
        assert secret.encode() not in line.heard


@pytest.mark.vm
@pytest.mark.parametrize(
    "files, sentences",
    [
        ({"/state.json": b"{}", "/config.json": b"{}"}, ["without an API key", "the default", "no network given"]),
        ({"/gadgetkeeper/api.mpy": b""}, ["of version 0.1"]),
        ({}, ["/serial.txt is missing", "not activated yet", "the defaults", "none on this board"]),
        (
            {
                "/serial.txt": b"\xff\xfe",
                "/state.json": b'{"thing',
                "/config.json": b"[]",
                "/release/ota/plan.py": b"",
                "/release/ota/plan.mpy": b"",
            },
            ["does not hold one", "/state.json is not readable", "/config.json is not readable", "lie there twice"],
        ),
    ],
)
def test_a_board_without_or_with_broken_files_is_described_all_the_same(tmp_path, capsys, files, sentences):
    with repl.running(make_board(tmp_path / "flash.bin", files)) as board:
        assert main(["status", "--port", board.url]) == 0
    said = capsys.readouterr().out
    for sentence in sentences:
        assert sentence in said


def test_a_board_in_step():
    said = words()
    assert said["firmware"] == f"version {VERSION} in ota_1, confirmed at the server"
    assert said["update"] == "none under way" and said["left alone"] == "no version"
    assert said["otadata 1"].endswith("(this one counts)") and "counts" not in said["otadata 0"]
    assert said["signing keys"] == "none: firmware needs no signature"


def test_an_update_under_way_and_its_failures():
    state = found()["state"]
    update = {"versionId": VERSION, "slot": "ota_0", "attempts": 1, "phase": "rolled back", "code": "rolled_back"}
    verdict = {"versionId": VERSION, "phase": "given up", "attempt": 3, "code": "wrong_hash"}
    said = words(state={**state, "confirmed": False, "update": update, "verdict": verdict, "quarantined": VERSION})
    assert said["firmware"].endswith("not yet confirmed at the server")
    assert "went back" in said["update"] and said["update"].endswith("[rolled_back]")
    assert said["left alone"] == f"version {VERSION}: it failed here"
    assert said["last result"] == f"version {VERSION}: given up, attempt 3 [wrong_hash]"


@pytest.mark.parametrize(
    "records, running, sentences",
    [
        ([[1, otadata.VALID, True], [2, otadata.NEW, True]], "ota_0", ["NEW: gets its one boot", "starts ota_1"]),
        ([[1, otadata.VALID, True], [2, otadata.PENDING_VERIFY, True]], "ota_1", ["on trial", "starts the same"]),
        ([[1, otadata.VALID, True], [2, otadata.ABORTED, True]], "ota_0", ["ABORTED: did not prove itself"]),
        ([[1, otadata.VALID, True], [2, otadata.VALID, False]], "ota_0", ["its crc is wrong"]),
        ([[1, otadata.UNDEFINED, True], [otadata.BLANK, otadata.BLANK, False]], "ota_0", ["without a trial", "blank"]),
        ([[1, 17, True], [2, otadata.INVALID, True]], "ota_0", ["unknown state 17", "INVALID: marked as unusable"]),
    ],
)
def test_otadata_in_words(records, running, sentences):
    chosen = "ota_1" if records[1][1] in (otadata.NEW, otadata.PENDING_VERIFY) else "ota_0"
    chip = {**found()["chip"], "otadata": records, "running": running, "chosen": chosen}
    said = " ".join(words(chip=chip).values())
    for sentence in sentences:
        assert sentence in said


def test_boards_without_slots():
    partitions = [[0, 0, 0x10000, 0x1F0000, "factory", False]]
    chip = {
        "partitions": partitions,
        "images": {"factory": "v5.2"},
        "otadata": [],
        "running": "factory",
        "chosen": None,
    }
    assert "make factory" in words(chip=chip)["otadata"]
    assert words(chip=None)["slots"] == "none: this board is no ESP32"
