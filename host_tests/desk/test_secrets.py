"""Each board's own secrets: none is guessed, shared, shown, lost between label, board and server, or made twice."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host_tests.fakes.download_mode import DownloadMode
from tools import factory, firmware, server
from tools.factory import batch, labels, personal, setup_network
from tools.factory.__main__ import main
from tools.factory.record import FLASHED, STARTED, Record

COMBINED = firmware.combined_image("1.27.0")
MAC = "24:6f:28:00:00:01"
SERIALS = ["THERM00000000000001", "THERM00000000000002"]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.delenv("WIFI_PASSWORD", raising=False)
    monkeypatch.setattr("esptool.cmds.DEFAULT_CONNECT_ATTEMPTS", 1)
    monkeypatch.setattr("esptool.loader.HexFormatter", lambda data: "")


@pytest.fixture
def run(tmp_path, capsys):
    """Runs a command of the factory; status, standard output, standard error."""

    def run(command, *arguments):
        words = [command, *map(str, arguments)]
        if command in ("factory", "batch"):
            words += [f"--firmware={COMBINED}"]
            if not any(word.startswith("--server=") for word in words):
                words.append("--server=http://192.0.2.1")
        if command != "factory":
            words.append(f"--record={tmp_path / 'record.jsonl'}")
        return main(words), *capsys.readouterr()

    return run


@pytest.fixture
def make_batch(run, tmp_path):
    """Makes a batch of these serial numbers in a folder, without a server; the outcome."""

    def make(serials, *arguments, folder="batch"):
        (tmp_path / "serials.csv").write_text("\n".join(serials))
        words = [f"--serials={tmp_path / 'serials.csv'}", f"--out={tmp_path / folder}", *arguments]
        return run("batch", "--no-register", "--product=Kitchen", *words)

    return make


def config_of(path) -> dict:
    return json.loads(factory.read_files(path.read_bytes())["/config.json"])


def refused(outcome, status, *told):
    assert outcome[0] == status and outcome[2].count("\n") == 1, outcome
    for text in told:
        assert text in outcome[2], outcome[2]


def labels_in(path) -> list[list[str]]:
    """What the labels say, in their order: serial number, network, password."""
    cells = re.findall(r"<code>(.*?)</code>", path.read_text())
    return [cells[at : at + 3] for at in range(0, len(cells), 3)]


def test_every_board_has_its_own_and_nobody_guesses_it(make_batch, tmp_path):
    assert make_batch(SERIALS)[0] == 0
    configs = [config_of(tmp_path / "batch" / f"{serial}.bin") for serial in SERIALS]
    for name, pattern in (("setup_password", r"[a-km-np-z2-9]{12,}"), ("device_secret", r"[0-9a-f]{32}")):
        one, two = (config[name] for config in configs)
        assert one != two and re.fullmatch(pattern, one) and not re.search("[ilo01]", one * (name == "setup_password"))
    found = {personal.new_secrets().setup_password for _ in range(1000)}
    assert len(found) == 1000 and len(set("".join(found))) == 31


def test_label_joins_a_phone_to_the_network_that_this_board_opens(make_batch, tmp_path):
    assert make_batch(SERIALS)[0] == 0
    page = (tmp_path / "batch" / "labels.html").read_text()
    for serial, label in zip(SERIALS, labels_in(tmp_path / "batch" / "labels.html"), strict=True):
        config = config_of(tmp_path / "batch" / f"{serial}.bin")
        assert config["product"] == "Thermometer", "whose releases the board takes"
        assert label == [serial, f"Thermometer-{serial[-6:]}", config["setup_password"]]
        alone = labels.sheet("Kitchen", [labels.Label(*label)])
        assert re.search("<svg.*?</svg>", alone)[0] in page
        assert config["device_secret"] not in page
    assert (tmp_path / "batch" / "labels.html").stat().st_mode & 0o077 == 0


def test_single_image_has_its_label_beside_it(run, tmp_path):
    status, output, _ = run("factory", "--serial=THERM00000000000001", f"--out={tmp_path / 'first.bin'}")
    assert status == 0 and f"label to print: {tmp_path / 'first.label.html'}" in output
    config = config_of(tmp_path / "first.bin")
    label = ["THERM00000000000001", "Thermometer-000001", config["setup_password"]]
    assert labels_in(tmp_path / "first.label.html") == [label]
    assert config["setup_password"] not in output and config["device_secret"] not in output


def parse(code: str) -> dict[str, str]:
    """A QR code's text as phones read it: fields up to a semicolon, a backslash before what is meant as it is."""
    assert code.startswith("WIFI:") and code.endswith(";;")
    fields = re.findall(r"([A-Z]):((?:\\.|[^\\;])*);", code[5:-1])
    return {name: re.sub(r"\\(.)", r"\1", value) for name, value in fields}


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1), st.text(r'ab\;,:"$ ', min_size=8))
def test_every_name_and_password_is_read_back_from_the_code(name, password):
    assert parse(setup_network.join_code(name, password)) == {"S": name, "T": "WPA", "P": password}


def test_code_of_an_ordinary_board_is_this_one():
    name = setup_network.network_name("Thermometer", "THERM00000000000001")
    assert setup_network.join_code(name, 'a;b"c') == r"WIFI:S:Thermometer-000001;T:WPA;P:a\;b\"c;;"
    assert setup_network.network_name("Thermometer", "A1") == "Thermometer-A1"


def test_product_whose_name_is_no_networks(run, make_batch, tmp_path):
    more = f"--config={tmp_path / 'more.json'}"
    for product in ("x" * 26, "", "Küche", "a\x1bb"):
        (tmp_path / "more.json").write_text(json.dumps({"product": product}))
        refused(run("factory", "--serial=A1", f"--out={tmp_path / 'x'}", more), 1, "1 to 25 ASCII characters")
    (tmp_path / "more.json").write_text('{"product": "Bath"}')
    assert make_batch(SERIALS, more)[0] == 0
    assert labels_in(tmp_path / "batch" / "labels.html")[0][1] == "Bath-000001"


def test_label_that_is_printed_stays_right_when_the_image_is_made_anew(run, make_batch, tmp_path):
    for make, image in (
        (lambda *more: make_batch(SERIALS, *more), tmp_path / "batch" / f"{SERIALS[0]}.bin"),
        (lambda *more: run("factory", "--serial=A1", f"--out={tmp_path / 'x.bin'}", *more), tmp_path / "x.bin"),
    ):
        assert make()[0] == 0
        before = config_of(image)
        (tmp_path / "more.json").write_text('{"report_interval_s": 5}')
        assert make(f"--config={tmp_path / 'more.json'}")[0] == 0
        after = config_of(image)
        assert after["report_interval_s"] == 5
        for name in ("setup_password", "device_secret"):
            assert after[name] == before[name]


def test_another_serial_number_does_not_inherit_the_secrets_of_the_file_it_replaces(run, tmp_path):
    assert run("factory", "--serial=A1", f"--out={tmp_path / 'x.bin'}")[0] == 0
    before = config_of(tmp_path / "x.bin")
    assert run("factory", "--serial=A2", f"--out={tmp_path / 'x.bin'}")[0] == 0
    assert config_of(tmp_path / "x.bin")["device_secret"] != before["device_secret"]


@pytest.mark.parametrize(
    "settings, told",
    [
        ({"setup_password": "short"}, "setup_password has not 8 to 63 bytes"),
        ({"device_secret": "ABC"}, "device_secret is not 32 hex digits"),
        ({"device_secret": 5}, "device_secret"),
    ],
)
def test_secrets_in_the_settings_that_are_none(run, tmp_path, settings, told):
    (tmp_path / "more.json").write_text(json.dumps(settings))
    outcome = run("factory", "--serial=A1", f"--out={tmp_path / 'x'}", f"--config={tmp_path / 'more.json'}")
    refused(outcome, 1, told)


def test_no_secret_is_shared_by_a_batch(run, make_batch, tmp_path):
    (tmp_path / "more.json").write_text('{"setup_password": "the same for all"}')
    refused(make_batch(SERIALS, f"--config={tmp_path / 'more.json'}"), 1, "every board the same setup_password")
    assert not (tmp_path / "batch").exists()
    outcome = run("factory", "--serial=A1", f"--out={tmp_path / 'x'}", f"--config={tmp_path / 'more.json'}")
    assert outcome[0] == 0 and config_of(tmp_path / "x")["setup_password"] == "the same for all"


def test_record_holds_the_hash_and_never_the_secret(run, tmp_path):
    assert run("factory", f"--serial={SERIALS[0]}", f"--out={tmp_path / 'first.bin'}")[0] == 0
    with DownloadMode(MAC) as board:
        assert run("flash", f"--port={board.url}", f"--image={tmp_path / 'first.bin'}")[0] == 0
    config = config_of(tmp_path / "first.bin")
    text = (tmp_path / "record.jsonl").read_text()
    for entry in map(json.loads, text.splitlines()):
        assert entry["secretSha256"] == personal.secret_sha256(config["device_secret"])
    assert config["device_secret"] not in text and config["setup_password"] not in text


def test_board_without_a_secret_is_recorded_without_one(run, tmp_path):
    files = factory.own_files(SERIALS[0], "http://192.0.2.1")
    (tmp_path / "old.bin").write_bytes(factory.flash_image(COMBINED, files))
    with DownloadMode(MAC) as board:
        assert run("flash", f"--port={board.url}", f"--image={tmp_path / 'old.bin'}")[0] == 0
    assert "secretSha256" not in (tmp_path / "record.jsonl").read_text()


# the batch's folder


def test_folder_with_another_list_keeps_it(make_batch, tmp_path):
    assert make_batch(["A1", "A2"])[0] == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "batch").iterdir()}
    refused(make_batch(["B1"]), 1, "holds another list: 'A1', 'A2' of it are not in this one", "OUT=…")
    refused(make_batch(["A1"]), 1, "holds another list: 'A2'")
    assert {path.name: path.read_bytes() for path in (tmp_path / "batch").iterdir()} == before
    refused(make_batch(["A1", "A2"], "--product=Bath"), 1, "holds a batch of the product Kitchen")
    assert make_batch(["A1", "A2", "A3"])[0] == 0
    (tmp_path / "batch" / "batch.json").unlink()  # interrupted: its images are there all the same
    refused(make_batch(["B1"]), 1, "holds another list: 'A1', 'A2', 'A3'")


def test_two_batches_at_once_in_one_folder(make_batch, tmp_path):
    with batch.opened(tmp_path / "batch", ["A1"]):
        refused(make_batch(["A1"]), 1, "another program is making a batch in", "let it end")
    assert make_batch(["A1"])[0] == 0


def test_serial_number_of_a_board_in_another_case_is_refused(run, tmp_path):
    Record(tmp_path / "record.jsonl").add("ABC1", MAC, "0" * 64, FLASHED)
    assert run("factory", "--serial=abc1", f"--out={tmp_path / 'x.bin'}")[0] == 0
    with DownloadMode("24:6f:28:00:00:02") as board:
        outcome = run("flash", f"--port={board.url}", f"--image={tmp_path / 'x.bin'}")
        refused(outcome, 1, "abc1 differs from ABC1 of board", "by case only")
        assert not any(board.flash)


def test_board_whose_image_is_deleted_gets_no_label_with_a_password_that_it_does_not_have(make_batch, tmp_path):
    assert make_batch(["A1", "A2"])[0] == 0
    Record(tmp_path / "record.jsonl").add("A1", MAC, "0" * 64, FLASHED)
    (tmp_path / "batch" / "A1.bin").unlink()
    status, output, _ = make_batch(["A1", "A2"])
    assert status == 0 and "without a label: 1" in output
    assert [label[0] for label in labels_in(tmp_path / "batch" / "labels.html")] == ["A2"]


# the server


@pytest.fixture
def shop(tmp_path, monkeypatch):
    with server.running(tmp_path / "server") as running:
        monkeypatch.setenv("GADGETKEEPER_PASSWORD", running.password)
        template = running.vendor.create_template("Thermometer")
        running.product = running.vendor.create_product("Kitchen", template["id"])
        yield running


def registered(run, shop, tmp_path, serials, *more):
    (tmp_path / "serials.csv").write_text("\n".join(serials))
    words = [f"--server={shop.url}", "--allow-localhost", f"--serials={tmp_path / 'serials.csv'}"]
    return run("batch", *words, f"--out={tmp_path / 'batch'}", *more)


class Keeper:
    """A server's client that keeps hashes of device secrets, in front of one that does not."""

    def __init__(self, vendor, known=()) -> None:
        self._vendor = vendor
        self.hashes = dict.fromkeys(known)

    def products(self):
        return [{**product, "requiresDeviceSecret": False} for product in self._vendor.products()]

    def serials(self, product_id):
        return list(self.hashes)

    def serial(self, serial):
        return {"serialNumber": serial, "hasSecret": self.hashes[serial] is not None}

    def add_serials(self, product_id, serials, secret_sha256):
        assert set(secret_sha256) <= set(serials) and not set(serials) & set(self.hashes)
        self.hashes |= {serial: secret_sha256.get(serial) for serial in serials}

    def set_secret(self, serial, sha256):
        assert serial in self.hashes
        self.hashes[serial] = sha256

    def __getattr__(self, name):
        return getattr(self._vendor, name)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        pass


@pytest.fixture
def keeper(shop, monkeypatch):
    """The shop's client, as one of a server that keeps hashes."""
    keeper = Keeper(shop.vendor)
    monkeypatch.setattr("tools.factory.__main__.open_vendor", lambda *arguments: keeper)
    return keeper


def hashes_of(tmp_path, serials):
    paths = {serial: tmp_path / "batch" / f"{serial}.bin" for serial in serials}
    return {serial: personal.secret_sha256(config_of(path)["device_secret"]) for serial, path in paths.items()}


def test_server_that_keeps_no_hashes_is_asked_for_none(run, shop, tmp_path):
    assert registered(run, shop, tmp_path, ["A1"])[0] == 0
    assert shop.vendor.serials(shop.product["id"]) == ["A1"]


def test_server_that_keeps_hashes_gets_those_of_the_boards(run, shop, keeper, tmp_path):
    assert registered(run, shop, tmp_path, ["A1", "A2"])[0] == 0
    assert keeper.hashes == hashes_of(tmp_path, ["A1", "A2"])
    assert registered(run, shop, tmp_path, ["A1", "A2", "A3"])[0] == 0
    assert keeper.hashes == hashes_of(tmp_path, ["A1", "A2", "A3"])


def test_serial_number_that_was_registered_without_a_secret_gets_one(run, shop, keeper, tmp_path):
    keeper.hashes = {"A1": None}
    assert registered(run, shop, tmp_path, ["A1"])[0] == 0
    assert keeper.hashes == hashes_of(tmp_path, ["A1"])


def test_board_that_works_without_a_secret_is_not_locked_out(run, shop, keeper, tmp_path):
    """A board of before secrets were made; registering one that it does not have would end it."""
    keeper.hashes = {"A1": None}
    Record(tmp_path / "record.jsonl").add("A1", MAC, "0" * 64, STARTED)
    assert registered(run, shop, tmp_path, ["A1"])[0] == 0
    assert keeper.hashes == {"A1": None}


def test_secret_that_the_server_has_from_elsewhere_is_not_replaced_unasked(run, shop, keeper, tmp_path):
    keeper.hashes = {"A1": "0" * 64}
    refused(registered(run, shop, tmp_path, ["A1"]), 1, "'A1' have a device secret at the server", "NEW_SECRETS=1")
    assert keeper.hashes == {"A1": "0" * 64} and not (tmp_path / "batch").exists()
    assert registered(run, shop, tmp_path, ["A1"], "--new-secrets")[0] == 0
    assert keeper.hashes == hashes_of(tmp_path, ["A1"])


def test_interrupted_between_images_and_server_the_same_command_tells_it_the_same_secrets(
    run, shop, keeper, tmp_path, monkeypatch
):
    with monkeypatch.context() as patch:
        patch.setattr(batch, "register", lambda *arguments: (_ for _ in ()).throw(KeyboardInterrupt))
        refused(registered(run, shop, tmp_path, ["A1"]), 1, "interrupted")
    made = hashes_of(tmp_path, ["A1"])
    assert registered(run, shop, tmp_path, ["A1"])[0] == 0
    assert keeper.hashes == made == hashes_of(tmp_path, ["A1"])


def test_serial_number_registered_in_another_case_is_refused(run, shop, tmp_path):
    shop.vendor.add_serials(shop.product["id"], ["ABC1"])
    refused(registered(run, shop, tmp_path, ["abc1"]), 1, "'abc1' differ by case only from a registered one")
    assert shop.vendor.serials(shop.product["id"]) == ["ABC1"] and not (tmp_path / "batch").exists()
