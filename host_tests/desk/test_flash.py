"""Boards and batches: esptool really talks to a board in download mode, and no serial number gets onto two boards."""

import fcntl
import json
import os
import pty
import socket
import subprocess
import sys

import pytest
import trustme

from host_tests.fakes.download_mode import ERASE_FLASH, DownloadMode
from tools import agent, factory, firmware, release, server
from tools.factory import batch, flash
from tools.factory.__main__ import main
from tools.factory.record import FLASHED, RELEASED, STARTED, Record

ONE, TWO, THREE = (f"24:6f:28:00:00:0{number}" for number in (1, 2, 3))
SERIALS = ["THERM00000000000001", "THERM00000000000002", "THERM00000000000003"]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setenv("WIFI_PASSWORD", "not to be seen")
    monkeypatch.setattr(flash.connected.__wrapped__, "__defaults__", (flash.BAUD, 1))
    # For a trace that nobody reads, esptool would spell out every byte that it sends: two thirds of the time.
    monkeypatch.setattr("esptool.cmds.DEFAULT_CONNECT_ATTEMPTS", 1)
    monkeypatch.setattr("esptool.loader.HexFormatter", lambda data: "")


@pytest.fixture
def run(tmp_path, capsys):
    """Runs a command of the factory; status, standard output, standard error."""

    def run(*arguments) -> tuple[int, str, str]:
        command, *rest = map(str, arguments)
        if command != "image":
            rest += [f"--record={tmp_path / 'record.jsonl'}"]
        return main([command, *rest]), *capsys.readouterr()

    return run


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """The flash image of the first serial number."""
    path = tmp_path_factory.mktemp("image") / "image.bin"
    files = {
        **agent.board_files(),
        **factory.own_files(SERIALS[0], "http://127.0.0.1:1", wifi=[]),
    }
    path.write_bytes(factory.flash_image(firmware.combined_image("1.27.0"), files))
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A finished batch of three; its small images are not for reading, but for being written."""
    folder = tmp_path_factory.mktemp("made") / "batch"
    (folder.parent / "serials.csv").write_text("\n".join(SERIALS))
    os.environ["WIFI_PASSWORD"] = "not to be seen"
    order = ["--firmware", firmware.combined_image("1.27.0"), "--server=http://192.0.2.1", "--wifi-ssid=home"]
    arguments = ["batch", *order, f"--serials={folder.parent / 'serials.csv'}", f"--out={folder}"]
    record = f"--record={folder.parent / 'record.jsonl'}"
    assert main([*map(str, arguments), "--no-register", "--product=Thermometer", record]) == 0
    return folder


def refused(outcome, status, *told) -> None:
    assert outcome[0] == status, outcome
    assert outcome[2].count("\n") == 1 and outcome[2].startswith("factory: "), outcome
    for text in told:
        assert text in outcome[2], outcome[2]


def record(tmp_path) -> list[tuple[str, str, str]]:
    lines = (tmp_path / "record.jsonl").read_text().splitlines()
    return [(entry["serial"], entry["mac"], entry["result"]) for entry in map(json.loads, lines)]


# flash


@pytest.mark.parametrize("erase", [False, True])
def test_image_is_written_and_verified(run, tmp_path, image, erase):
    with DownloadMode(ONE) as board:
        status, output, errors = run("flash", f"--port={board.url}", f"--image={image}", *["--erase"] * erase)
        assert (status, errors) == (0, "")
        assert f"an ESP32 with 4 MiB of flash, MAC {ONE}" in output and f"{SERIALS[0]} is on board {ONE}" in output
        assert board.flash == image.read_bytes()
        assert (ERASE_FLASH in board.asked) == erase
    assert record(tmp_path) == [(SERIALS[0], ONE, STARTED), (SERIALS[0], ONE, FLASHED)]


def test_flash_that_does_not_hold_what_is_written(run, tmp_path, image):
    with DownloadMode(ONE, is_worn=True) as board:
        refused(run("flash", f"--port={board.url}", f"--image={image}"), 1, "MD5 of file does not match data in flash")
    assert record(tmp_path)[-1] == (SERIALS[0], ONE, "failed")


def test_plug_pulled_while_writing_is_said_and_the_same_board_goes_on(run, tmp_path, image):
    with DownloadMode(ONE, break_at=5) as board:
        refused(run("flash", f"--port={board.url}", f"--image={image}"), 1, board.url)
    with DownloadMode(TWO) as board:
        outcome = run("flash", f"--port={board.url}", f"--image={image}")
        refused(outcome, 1, f"{SERIALS[0]} belongs to board {ONE}", f"RELEASE={SERIALS[0]}")
        assert not any(board.flash)
    with DownloadMode(ONE) as board:
        assert run("flash", f"--port={board.url}", f"--image={image}")[0] == 0
        assert board.flash == image.read_bytes()


def test_too_small_flash_and_another_chip_are_refused_before_anything_is_written(run, tmp_path, image, made):
    with DownloadMode(ONE, flash_mib=2) as board:
        told = "the board's flash has 2 MiB, the image is for 4"
        refused(run("flash", f"--port={board.url}", f"--image={image}"), 1, told)
        refused(run("flash-batch", f"--port={board.url}", f"--batch={made}"), 1, told)
        assert not any(board.flash)
    with DownloadMode(ONE, chip="ESP32-S2") as board:
        told = "has the chip ESP32-S2, the image is for the ESP32"
        refused(run("flash", f"--port={board.url}", f"--image={image}"), 1, told)
    assert not (tmp_path / "record.jsonl").exists()


def test_port_that_is_not_there(run, image):
    refused(run("flash", "--port=/dev/ttyUSB99", f"--image={image}"), 1, "there is no port /dev/ttyUSB99 (ports: ")
    refused(run("flash", f"--port={image}", f"--image={image}"), 1, "is no serial port")
    refused(run("flash", "--port=auto", f"--image={image}"), 1, "the port has to be named")
    refused(run("flash", "--port=", f"--image={image}"), 2, "PORT=/dev/ttyUSB0")
    refused(run("flash", "--port=nonsense://x", f"--image={image}"), 1, "nonsense://x is no port")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        closed = f"socket://127.0.0.1:{listener.getsockname()[1]}"
    refused(run("flash", f"--port={closed}", f"--image={image}"), 1, "cannot be opened", "Connection refused")


def test_port_without_permission(run, image, monkeypatch):
    control, terminal = pty.openpty()
    monkeypatch.setattr("os.access", lambda path, mode: False)  # root may open everything
    told = "no permission for " + os.ttyname(terminal)
    refused(run("flash", f"--port={os.ttyname(terminal)}", f"--image={image}"), 1, told, "dialout")
    os.close(control), os.close(terminal)


def test_port_in_use_by_another_program(run, image):
    control, terminal = pty.openpty()
    with open(os.ttyname(terminal), "rb", buffering=0) as console:
        fcntl.flock(console, fcntl.LOCK_EX)  # as pyserial and esptool do
        told = f"{os.ttyname(terminal)} is in use by another program"
        refused(run("flash", f"--port={os.ttyname(terminal)}", f"--image={image}"), 1, told)
    os.close(control), os.close(terminal)


def test_board_that_does_not_answer(run, image):
    control, terminal = pty.openpty()
    told = f"no chip answers at {os.ttyname(terminal)}"
    refused(run("flash", f"--port={os.ttyname(terminal)}", f"--image={image}"), 1, told, "BOOT")
    os.close(control), os.close(terminal)


@pytest.mark.parametrize("content", [b"", b"\xff" * (4 << 20), b"\xe9" * 100_000])
def test_image_that_is_none_is_not_written(run, tmp_path, content):
    (tmp_path / "image.bin").write_bytes(content)
    with DownloadMode() as board:
        refused(run("flash", f"--port={board.url}", f"--image={tmp_path / 'image.bin'}"), 1, "is no flash image of")
        assert not any(board.flash)


# the batch's boards


def test_each_board_gets_the_next_serial_number_once(run, tmp_path, made):
    with DownloadMode(ONE) as one, DownloadMode(TWO) as two:
        assert "1 of 3 done" in run("flash-batch", f"--port={one.url}", f"--batch={made}")[1]
        assert one.flash == (made / f"{SERIALS[0]}.bin").read_bytes()
        again = run("flash-batch", f"--port={one.url}", f"--batch={made}")
        refused(again, 1, f"board {ONE} is {SERIALS[0]} already", "REUSE=1")
        assert "2 of 3 done" in run("flash-batch", f"--port={two.url}", f"--batch={made}")[1]
        assert two.flash == (made / f"{SERIALS[1]}.bin").read_bytes()
        assert "3 of 3 done" in run("flash-batch", f"--port={two.url}", f"--batch={made}", "--reuse")[1]
    with DownloadMode(THREE) as three:
        refused(run("flash-batch", f"--port={three.url}", f"--batch={made}"), 1, "all 3 serial numbers")
        assert not any(three.flash)
    flashed = [entry[:2] for entry in record(tmp_path) if entry[2] == FLASHED]
    assert flashed == [(SERIALS[0], ONE), (SERIALS[1], TWO), (SERIALS[2], TWO)]


def test_process_killed_while_writing_leaves_the_serial_number_to_that_board(run, tmp_path, made):
    """Really killed: what the record says then is only what was on disk."""
    script = """
import os, sys
from tools.factory import flash
from tools.factory.__main__ import main
flash.Board.write = lambda *arguments: os._exit(9)
main(sys.argv[1:])
"""
    with DownloadMode(ONE) as board:
        arguments = ["flash-batch", f"--port={board.url}", f"--batch={made}", f"--record={tmp_path / 'record.jsonl'}"]
        assert subprocess.run([sys.executable, "-c", script, *arguments], cwd=factory.ROOT).returncode == 9
    assert record(tmp_path) == [(SERIALS[0], ONE, STARTED)]
    with DownloadMode(TWO) as board:
        assert SERIALS[1] in run("flash-batch", f"--port={board.url}", f"--batch={made}")[1]
    with DownloadMode(ONE) as board:
        assert SERIALS[0] in run("flash-batch", f"--port={board.url}", f"--batch={made}")[1]


def test_changed_image_is_not_written(run, tmp_path, made):
    path = made / f"{SERIALS[0]}.bin"
    content = path.read_bytes()
    with DownloadMode(ONE) as board:
        path.write_bytes((made / f"{SERIALS[1]}.bin").read_bytes())
        refused(run("flash-batch", f"--port={board.url}", f"--batch={made}"), 1, "is not what was made for")
        path.unlink()
        refused(run("flash-batch", f"--port={board.url}", f"--batch={made}"), 1, "cannot be read")
        path.write_bytes(content)
        assert not any(board.flash) and not (tmp_path / "record.jsonl").exists()


def test_batch_that_is_not_there(run, tmp_path):
    refused(run("flash-batch", "--port=/dev/null", f"--batch={tmp_path}"), 1, "holds no finished batch")


# the record


def entries_of(path, *lines):
    record = Record(path)
    for serial, mac, result in lines:
        record.add(serial, mac, "0" * 64, result)
    return record


def test_torn_line_is_left_behind_and_counts_for_nothing(tmp_path):
    record = entries_of(tmp_path / "r", ("A", ONE, STARTED), ("A", ONE, FLASHED))
    whole = record.path.read_bytes()
    line = whole.splitlines(keepends=True)[1].replace(b'"A"', b'"B"').replace(ONE.encode(), TWO.encode())
    for cut in range(1, len(line)):
        record.path.write_bytes(whole + line[:cut])
        assert set(record.read().mac_of) == {"A"}
        record.add("C", THREE, "0" * 64, STARTED)
        assert record.path.read_bytes().startswith(whole + line[:cut]), "it is only ever appended to"
        found = record.read()
        assert found.mac_of["A"] == ONE and found.mac_of["C"] == THREE


def test_line_that_somebody_has_damaged_stops_the_line(tmp_path):
    record = entries_of(tmp_path / "r", ("A", ONE, FLASHED), ("B", TWO, FLASHED))
    lines = record.path.read_bytes().splitlines(keepends=True)
    for bad in (b"", b"{}", b"[]", lines[0][:40], b'{"serial": "A", "mac": "x"}'):
        record.path.write_bytes(bad + b"\n" + lines[1])
        with pytest.raises(factory.FactoryError, match=r"line 1 of the record .* cannot be read"):
            record.read()


def test_only_a_serial_number_that_no_board_has_proven_is_released(tmp_path):
    record = entries_of(tmp_path / "r", ("A", ONE, STARTED), ("B", TWO, FLASHED))
    assert record.release("A") == ONE
    assert "A" not in record.read().mac_of and ONE not in record.read().serial_of
    for serial, told in (("A", "belongs to no board"), ("B", "stays that board's"), ("X", "belongs to no board")):
        with pytest.raises(factory.FactoryError, match=told):
            record.release(serial)
    record.add("B", TWO, "0" * 64, STARTED)  # flashed once more, and interrupted
    with pytest.raises(factory.FactoryError, match="stays that board's"):
        record.release("B")
    record.add("C", TWO, "0" * 64, STARTED)  # the board was getting another number, but may still hold the first
    with pytest.raises(factory.FactoryError, match="stays that board's"):
        record.release("B")
    record.add("C", TWO, "0" * 64, FLASHED)
    assert record.release("B") == TWO
    assert record.read().serial_of == {TWO: "C"}


def test_released_serial_number_goes_to_the_next_board(run, tmp_path, made):
    entries_of(tmp_path / "record.jsonl", (SERIALS[0], ONE, STARTED))
    status, output, _ = run("release", f"--serial={SERIALS[0]}")
    assert status == 0 and f"board {ONE} must never be used" in output
    assert record(tmp_path)[-1] == (SERIALS[0], ONE, RELEASED)
    with DownloadMode(TWO) as board:
        assert SERIALS[0] in run("flash-batch", f"--port={board.url}", f"--batch={made}")[1]


def test_two_lines_at_one_record_never_take_the_same_serial_number(tmp_path):
    script = """
import sys, time
from pathlib import Path
from tools.factory.batch import Item, choose
from tools.factory.record import Record, STARTED
record, name = Record(Path(sys.argv[1])), sys.argv[2]
items = [Item(f"S{number}", Path("x"), "0") for number in range(60)]
sys.stdin.readline()  # both have started
for number in range(30):
    with record.locked() as entries:
        item = choose(items, entries, f"{name}{number}")
        time.sleep(0.002)  # to let the other one take the same, if it can
        record.add(item.serial, f"{name}{number}", "0", STARTED)
"""
    command = [sys.executable, "-c", script, tmp_path / "record"]
    lines = [subprocess.Popen([*command, name], cwd=factory.ROOT, stdin=subprocess.PIPE) for name in "ab"]
    for line in lines:
        line.stdin.write(b"\n")
        line.stdin.close()
    assert [line.wait() for line in lines] == [0, 0]
    entries = Record(tmp_path / "record").read()
    assert len(entries.mac_of) == len(entries.serial_of) == 60


# the batch


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """A server with two products, and a command that makes a batch of `serials.csv`."""
    with server.running(tmp_path / "server") as running:
        monkeypatch.setenv("GADGETKEEPER_PASSWORD", running.password)
        template = running.vendor.create_template("Thermometer")
        running.products = [running.vendor.create_product(name, template["id"])["id"] for name in ("Kitchen", "Bath")]
        yield running


def batch_of(run, shop, tmp_path, text, *more, product="Kitchen", url=None):
    (tmp_path / "serials.csv").write_text(text)
    order = ["--firmware", firmware.combined_image("1.27.0"), f"--server={url or shop.url}", "--wifi-ssid=home"]
    order += ["--allow-localhost"]
    order += [f"--product={product}"] if product else []
    return run("batch", *order, f"--serials={tmp_path / 'serials.csv'}", f"--out={tmp_path / 'batch'}", *more)


def test_batch_registers_and_makes_each_serial_number_and_can_be_repeated(run, shop, tmp_path):
    status, output, errors = batch_of(run, shop, tmp_path, "note,Serial\nred,A1\n,A2\n")
    assert (status, errors) == (0, ""), errors
    assert "registered under Kitchen: 2\n" in output and "batch: 2\n" in output
    assert "not to be seen" not in output
    assert shop.vendor.serials(shop.products[0]) == ["A1", "A2"] and shop.vendor.serials(shop.products[1]) == []
    product, items = batch.read_batch(tmp_path / "batch")
    assert (product, [item.serial for item in items]) == ("Kitchen", ["A1", "A2"])
    for item in items:
        assert flash.read_image(item.image)[1] == item.serial
    kept = items[0].image.read_bytes()
    Record(tmp_path / "record.jsonl").add("A1", ONE, items[0].sha256, FLASHED)
    status, output, _ = batch_of(run, shop, tmp_path, "A1\nA2\nA3\n", "--flash-size=8MB")
    assert status == 0 and "registered under Kitchen: 1 (2 were already)" in output
    assert "batch: 2 (1 kept: their boards exist)" in output
    assert items[0].image.read_bytes() == kept
    assert [item.image.stat().st_size >> 20 for item in batch.read_batch(tmp_path / "batch")[1]] == [4, 8, 8]


def test_batch_of_the_vendors_own_product(run, shop, tmp_path):
    app = factory.ROOT / "docs" / "examples" / "relay"
    assert batch_of(run, shop, tmp_path, "A1\n", f"--app={app}")[0] == 0
    (item,) = batch.read_batch(tmp_path / "batch")[1]
    found = release.read_release(item.image.read_bytes()[factory.LAYOUT[3].address :], "ota_0")
    assert found.manifest["app"] == "relay" and "/relay.mpy" in found.files
    refused(batch_of(run, shop, tmp_path, "A1\nA2\n", f"--app={tmp_path}"), 1, "the module that the agent calls")
    assert shop.vendor.serials(shop.products[0]) == ["A1"]


def test_broken_list_is_named_by_line_and_nothing_is_done(run, shop, tmp_path):
    for text, told in (
        ("A1\nA2\nA1\n", ["line 3 repeats A1 of line 1"]),
        ("A1\n\na/b\nA1\n", ["line 3: 'a/b' is no serial number", "line 4 repeats A1 of line 1"]),
        ("serial,x\nA1,1\n,2\n", ["line 3: '' is no serial number"]),
        ("x,serial\n1,A1\n2\n", ["line 3: '' is no serial number"]),
        ("serial\n", ["holds no serial number"]),
        ("", ["holds no serial number"]),
        ("\n".join("/" for _ in range(15)), ["line 10:", "and 5 more"]),
        ('"A1\nA2', ["is no serial number"]),
    ):
        refused(batch_of(run, shop, tmp_path, text), 1, *told)
        assert shop.vendor.serials(shop.products[0]) == [] and not (tmp_path / "batch").exists()


def test_list_that_is_no_text(run, shop, tmp_path):
    (tmp_path / "serials.csv").write_bytes(b"\xff\xfe\x00A")
    order = ["--firmware", firmware.combined_image("1.27.0"), f"--server={shop.url}", "--wifi-ssid=home"]
    refused(
        run("batch", *order, "--allow-localhost", f"--serials={tmp_path / 'serials.csv'}", f"--out={tmp_path / 'x'}"),
        1,
        "no CSV file",
    )


def test_version_that_the_server_does_not_have_registers_nothing(run, shop, tmp_path):
    refused(batch_of(run, shop, tmp_path, "A1\n", "--version-id=nonsense"), 1, "no version nonsense", "version list")
    assert shop.vendor.serials(shop.products[0]) == [] and not (tmp_path / "batch").exists()


def test_serial_number_of_another_product_registers_nothing(run, shop, tmp_path):
    shop.vendor.add_serials(shop.products[1], ["A2"])
    refused(batch_of(run, shop, tmp_path, "A1\nA2\n"), 1, "'A2'", "another product's")
    assert shop.vendor.serials(shop.products[0]) == [] and not (tmp_path / "batch").exists()


def test_product_must_be_clear(run, shop, tmp_path):
    refused(batch_of(run, shop, tmp_path, "A1\n", product=None), 1, "PRODUCT=… (Bath, Kitchen)")
    refused(batch_of(run, shop, tmp_path, "A1\n", product="Car"), 1, "no product 'Car'")


def test_server_that_cannot_be_reached_leaves_nothing_behind(run, shop, tmp_path):
    refused(batch_of(run, shop, tmp_path, "A1\n", url="http://127.0.0.1:1"), 1, "not registered", "no answer from")
    assert not (tmp_path / "batch").exists()


def test_desk_trusts_the_ca_that_the_boards_get(run, tmp_path, monkeypatch):
    ca = trustme.CA()
    ca.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    with server.running(tmp_path / "server", tls=(tmp_path / "server.pem", tmp_path / "server.pem")) as shop:
        monkeypatch.setenv("GADGETKEEPER_PASSWORD", shop.password)
        template = shop.vendor.create_template("Thermometer")
        product = shop.vendor.create_product("Kitchen", template["id"])
        refused(batch_of(run, shop, tmp_path, "A1\n"), 1, "needs its CA's certificate")
        trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")
        refused(batch_of(run, shop, tmp_path, "A1\n", f"--ca={tmp_path / 'other.pem'}"), 1, "no answer from https://")
        assert batch_of(run, shop, tmp_path, "A1\n", f"--ca={tmp_path / 'ca.pem'}")[0] == 0
        assert shop.vendor.serials(product["id"]) == ["A1"]


def test_interrupted_batch_is_none_yet_and_is_made_by_the_same_command(run, shop, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(batch.labels, "sheet", lambda *arguments: (_ for _ in ()).throw(KeyboardInterrupt))
        refused(batch_of(run, shop, tmp_path, "A1\nA2\n"), 1, "interrupted")
    refused(run("flash-batch", "--port=/dev/null", f"--batch={tmp_path / 'batch'}"), 1, "holds no finished batch")
    assert batch_of(run, shop, tmp_path, "A1\nA2\n")[0] == 0
    assert len(batch.read_batch(tmp_path / "batch")[1]) == 2


def test_full_disk_is_said_before_the_first_image(run, shop, tmp_path, monkeypatch):
    monkeypatch.setattr(batch.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 5 << 20}))
    refused(batch_of(run, shop, tmp_path, "A1\nA2\n"), 1, "8 MiB are needed, 5 are free")
    assert not list((tmp_path / "batch").glob("*.bin"))


def test_without_the_server_the_product_is_a_name(run, shop, tmp_path):
    refused(batch_of(run, shop, tmp_path, "A1\n", "--no-register", product=None), 2, "PRODUCT=…")
    assert batch_of(run, shop, tmp_path, "A1\n", "--no-register", product="Anything", url="http://nobody.test")[0] == 0


# labels


def test_labels_show_every_serial_number_as_text_and_as_code(made):
    page = (made / batch.LABELS).read_text()
    assert page.count("<svg") == 3 and page.count('class="sheet"') == 1
    for serial in SERIALS:
        assert f"<code>{serial}</code>" in page
    assert "http" not in page.replace("http://www.w3.org", ""), "the page is one file and asks nobody"


def test_labels_go_onto_as_many_sheets_as_they_need_and_carry_no_markup():
    page = batch.labels.sheet("<i>&", [batch.labels.Label(f"S{number}", "net", "password") for number in range(49)])
    assert page.count('class="sheet"') == 3 and page.count("<svg") == 49
    assert "<i>" not in page and "&lt;i&gt;&amp;" in page
