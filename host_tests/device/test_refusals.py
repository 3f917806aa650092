"""The tables of docs/what-it-refuses.md, line by line: what a device that meets this says, and what becomes of it.

The doc is the list of what is expected. Each case below has the name of a line, and the other way round.
"""

import contextlib
import hashlib
import io
import json
import re
import struct
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import net.response
import pytest

from host_tests.unit import vm
from host_tests.unit.test_signature import DIGEST, MODULUS, SIGNATURE, SIGNATURES, Key, flip, reseal, sign
from tools.proof import rounds, scratch
from tools.proof.reply import as_string
from tools.twin.image import bundle_files, make_bundle, make_image
from tools.twin.paths import DEVICE
from tools.twin.small_chip import SLOT_BYTES

ROOT = Path(__file__).resolve().parents[2]
DOC = ROOT / "docs" / "what-it-refuses.md"

NEW = make_image(2)
BUNDLE = bundle_files(2)
LONG = make_image(2, size_bytes=40000)
SECOND_SEGMENT = 24 + 8 + 256


def table(title: str) -> dict[str, tuple[str, str, str]]:
    """The doc's table under this heading: {what arrives: (code, sentence, what it does)}."""
    section = DOC.read_text().partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (.+?) \| `(\w+)`:? ?(.*?) \| (.+?) \|$", section, re.MULTILINE)
    assert rows, title
    assert len({row[0] for row in rows}) == len(rows), "a line stands twice"
    return {name: (code, sentence, does) for name, code, sentence, does in rows}


def sentences() -> dict[str, str]:
    """All sentences the device has, by code, with an ellipsis for each value."""
    lines = (DEVICE / "agent" / "errors.txt").read_text().splitlines()
    return {code: re.sub(r"\{\d?\}(\.\.\.)?", "…", text) for code, _, text in (line.partition(" ") for line in lines)}


def rehash(body: bytes) -> bytes:
    return body + hashlib.sha256(body).digest()


def with_length(image: bytes, at: int, length: int) -> bytes:
    """The image with another length in the segment header at `at`, and a hash that fits."""
    return rehash(image[: at + 4] + struct.pack("<I", length) + image[at + 8 : -32])


def boot_loader() -> bytes:
    return make_image(7, magic=0)


def exactly(size_bytes: int) -> bytes:
    """A release's image of this size."""
    return make_image(2, size_bytes=9000 + size_bytes - len(NEW))


def with_manifest(**members) -> bytes:
    """A release whose manifest says this."""
    return make_image(2, files=bundle_files(2, **members))


def without(path: str) -> bytes:
    """A release whose bundle lacks a file."""
    return make_image(2, files={name: content for name, content in BUNDLE.items() if name != path})


def cut_index() -> bytes:
    """A release whose bundle claims more paths than its index has."""
    return make_image(2, bundle=make_bundle(BUNDLE)[:-4] + struct.pack("<I", 200))


@pytest.fixture(scope="module")
def keys(tmp_path_factory) -> list[Key]:
    folder = tmp_path_factory.mktemp("keys")
    return [Key(folder, name) for name in ("mine", "other")]


UNSIGNED = {
    "a text": b"Not found",
    "an empty file": b"",
    "the first 100 bytes, and the connection ends": (NEW[:100], {"length": False, "bounded": False}),
    "a boot loader": boot_loader(),
    "a combined image (boot loader, partition table, app)": boot_loader().ljust(0xF000, b"\xff") + NEW,
    "an image without segments": make_image(2, segments=0),
    "an image with 17 segments": make_image(2, segments=17),
    "an image for another chip": make_image(2, chip_id=9),
    "an image for a newer revision of the chip": make_image(2, revision=302),
    "an image with an older secure_version than the running one's": make_image(2, secure=4),
    "an image without a hash": make_image(2, hashed=0),
    "an image larger than the slot": make_image(2, size_bytes=SLOT_BYTES),
    "an image larger than the slot, of unknown length": (
        make_image(2, size_bytes=SLOT_BYTES),
        {"length": False, "bounded": False},
    ),
    "a first segment of 4 GB": with_length(NEW, 24, 0xFFFFFFFC),
    "a later segment of 4 GB": with_length(NEW, SECOND_SEGMENT, 0xFFFFFFFC),
    "a segment that ends behind the file": with_length(NEW, SECOND_SEGMENT, 10000),
    "a segment of 9001 bytes": with_length(NEW, SECOND_SEGMENT, 9001),
    "an image cut off in a segment": NEW[:8000],
    "an image cut off in its hash": NEW[:-1],
    "an image with 16 bytes behind it": NEW + bytes(16),
    "a bit flipped in the header": flip(NEW, 4),
    "a bit flipped in the data": flip(NEW, 5000),
    "a bit flipped in the hash": flip(NEW, len(NEW) - 1),
    "a wrong checksum under a hash that fits": rehash(flip(NEW, len(NEW) - 33)[:-32]),
    "a plain MicroPython": make_image(2, release="v1.27.0", micropython=""),
    "a release of another product": make_image(2, product="Relay"),
    "a release below the floor": make_image(2, release=0),
    "a release with MicroPython 1.23": make_image(2, micropython="1.23.0"),
    "a release with a MicroPython that is no number": make_image(2, micropython="preview"),
    "a release without a bundle": make_image(2, bundle=bytes(64)),
    "a bundle whose index is damaged": cut_index(),
    "a bundle without the agent": without("/agent/loop.py"),
    "a bundle without the product's module": without("/thermometer.py"),
    "a bundle without a manifest": without("/manifest.json"),
    "a manifest of 3 KB": with_manifest(description="x" * 3000),
    "a manifest that is no JSON": make_image(2, files={**BUNDLE, "/manifest.json": b"product: Thermometer"}),
    "a manifest that is no text": make_image(2, files={**BUNDLE, "/manifest.json": b"\xff\xfe{}"}),
    "a manifest nested a thousand deep": make_image(2, files={**BUNDLE, "/manifest.json": b"[" * 1000}),
    "a manifest with a number that is a text": with_manifest(release="2"),
    "another release's manifest": with_manifest(release=3),
    "another product's manifest": with_manifest(product="Relay"),
    "a manifest with a floor above its own release": with_manifest(floor=3),
    "a manifest with keys that are no keys": with_manifest(settings={"signing_keys": ["mine"]}),
    "a manifest with a setting that is the board's own": with_manifest(settings={"wifi": [["home", "secret"]]}),
    "a manifest with an interval of 0 s": with_manifest(settings={"check_interval_s": 0}),
}


def signed_cases(keys: list[Key], folder: Path) -> dict[str, bytes]:
    """What arrives at a device that trusts the first of the keys."""
    mine, theirs = (sign(NEW, folder, key) for key in keys)
    another = sign(make_image(3), folder, keys[0])
    start = len(mine) - SIGNATURES
    mixed = mine[:start] + another[-SIGNATURES:]
    aligned = exactly(3 * SIGNATURES)
    return {
        "an unsigned image": NEW,
        "an unsigned image with an empty sector behind it": aligned + b"\xff" * SIGNATURES,
        "an unsigned image that fills the slot": exactly(SLOT_BYTES),
        "an image signed with a wrong key": theirs,
        "the signature of another image": mixed,
        "the signature of another image, made out to this one": reseal(
            mixed, DIGEST, hashlib.sha256(mine[:start]).digest()
        ),
        "a signature sector cut off": mine[: start + 1000],
        "a signature sector cut off and filled up": mine[: start + 1000] + b"\xff" * 3096,
        "a bit flipped in the signature": flip(mine, start + SIGNATURE + 100),
        "a bit flipped in the signature, its checksum made to fit": reseal(
            mine, SIGNATURE + 100, flip(mine[start + SIGNATURE + 100 :][:1], 0)
        ),
        "a bit flipped in the key, its checksum made to fit": reseal(
            mine, MODULUS + 100, flip(mine[start + MODULUS + 100 :][:1], 0)
        ),
        "a bit flipped in a signed image's header": flip(mine, 4),
        "a bit flipped in a signed image's data": flip(mine, 5000),
        "a bit flipped in a signed image's hash": flip(mine, len(NEW) - 1),
        "a signed image with an older secure_version than the running one's": sign(
            make_image(2, secure=4), folder, keys[0]
        ),
        "a signed image for another chip": sign(make_image(2, chip_id=9), folder, keys[0]),
    }


class Outcome:
    """What the console and the lines of `rounds.rounds` tell of one case."""

    def __init__(self, lines: list[str]) -> None:
        self.said: list[str] = []
        self.rounds: list[dict] = []
        for line in lines:
            if line.startswith("{"):
                self.rounds.append(json.loads(line))
            else:
                self.said.append(line)
        self.told = self.rounds[-1]["told"] if self.rounds else None  # what the server has heard of it

    @property
    def codes(self) -> list[str]:
        """The code of each round that failed."""
        return re.findall(r"\[(\w+)\]; the thermometer runs, next try in \d+ s", "\n".join(self.said))

    @property
    def does(self) -> str:
        """In the doc's words."""
        *bad, last = self.rounds
        assert all(seen["chosen"] == "ota_0" for seen in bad), "armed"
        assert last["chosen"] == "ota_1", "a good firmware is not installed afterwards"
        if not last["healed"]:
            goes_on = any("goes on at byte" in line for line in self.said)
            return "tries again, " + ("goes on where it was cut off" if goes_on else "starts over")
        first = "arms nothing" if any(seen["touched"] for seen in bad) else "erases nothing"
        if not bad[-1]["gave_up"]:
            return first + ", tries again"
        return first + ", gives up " + ("at once" if len(self.codes) == 1 else f"after {len(self.codes)} tries")


def check(title: str, outcomes: dict[str, Outcome]) -> None:
    """The table under this heading says exactly what came out; of versions given up, the server was told."""
    expected = table(title)
    assert set(expected) == set(outcomes), set(expected) ^ set(outcomes)
    found = {}
    for name, outcome in outcomes.items():
        codes = set(outcome.codes)
        assert len(codes) == 1, (name, outcome.said)
        code = codes.pop()
        pattern = re.escape(sentences()[code]).replace("…", ".*")
        assert any(re.search(rf"{pattern} \[{code}\]; the thermometer runs", line) for line in outcome.said), name
        found[name] = (code, sentences()[code], outcome.does)
        warned = any("needs no signature: this board has no signing_keys" in line for line in outcome.said)
        assert warned == (title != "The signature") or code in ("bad_answer", "redirect", "server_error"), name
        tries = len(outcome.codes)
        given_up = {"phase": "given up", "versionId": rounds.BAD, "attempt": tries, "code": code}
        assert outcome.told == (given_up if "gives up" in outcome.does else None), name
    assert found == expected


def run_cases(runtime: str, folder: Path) -> dict[str, Outcome]:
    """Play the cases of `folder` on this runtime."""
    heard = io.StringIO()
    if runtime == "vm":
        done = vm.run(folder, "tools.proof.rounds", "play")
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr
        heard.write(done.stdout)
    else:
        with contextlib.redirect_stdout(heard):
            rounds.play()
    outcomes = {}
    for part in re.split(r"^(?=\{\"case\")", heard.getvalue(), flags=re.MULTILINE)[1:]:
        first, *lines = part.splitlines()
        outcomes[json.loads(first)["case"]] = Outcome(lines)
    return outcomes


def write_cases(folder: Path, cases: dict, good: bytes, trusted: list[str]) -> None:
    (folder / "good").write_bytes(good)
    listed = []
    for number, (name, bad) in enumerate(cases.items()):
        bad, how = bad if isinstance(bad, tuple) else (bad, {})
        (folder / f"{number}.bin").write_bytes(bad)
        secure = 5 if "secure_version" in name else 0
        listed.append(
            {"case": name, "keys": trusted, "secure": secure, "how": how, "bad": f"{number}.bin", "good": "good"}
        )
    (folder / "cases.json").write_text(json.dumps(listed))


TITLES = ("The firmware", "The signature", "A patch", "The file system", "The connection")


def test_no_verdict_on_a_firmware_is_missing_from_the_tables():
    known = list(sentences())
    verdicts = known[known.index("bad_firmware_body") : known.index("refused_by_chip") + 1]
    listed = {row[0] for title in TITLES for row in table(title).values()}
    assert set(verdicts) <= listed, set(verdicts) - listed


ON_BOTH = [pytest.param("vm", marks=pytest.mark.vm), "cpython"]


@pytest.mark.parametrize("runtime", ON_BOTH)
def test_firmware_that_must_not_run(runtime, tmp_path, monkeypatch):
    monkeypatch.setattr(scratch, "base", f"{tmp_path}/")
    write_cases(tmp_path, UNSIGNED, make_image(3, secure=5), [])
    check("The firmware", run_cases(runtime, tmp_path))


@pytest.mark.parametrize("runtime", ON_BOTH)
def test_firmware_that_nobody_trusted_has_signed(runtime, tmp_path, monkeypatch, keys):
    monkeypatch.setattr(scratch, "base", f"{tmp_path}/")
    good = sign(make_image(3, secure=5), tmp_path, keys[0])
    write_cases(tmp_path, signed_cases(keys, tmp_path), good, [keys[0].digest])
    check("The signature", run_cases(runtime, tmp_path))


# The connection: the agent's own transport, and a server that misbehaves.


def head(*lines: str) -> bytes:
    return "\r\n".join(["HTTP/1.1 200 OK", "Content-Type: application/octet-stream", *lines, "", ""]).encode()


def forever(piece: bytes):
    while True:
        yield piece


STALL = "stall"
CUT = LONG[:20000]
LENGTH = f"Content-Length: {len(LONG)}"


def rest(start: int) -> list:
    """What a server with ranges answers, asked for the bytes from `start` on."""
    lines = [f"Content-Range: bytes {start}-{len(LONG) - 1}/{len(LONG)}", f"Content-Length: {len(LONG) - start}"]
    return [head('ETag: "one"', *lines).replace(b"200 OK", b"206 Partial Content"), LONG[start:]]


WHOLE = [head(LENGTH), LONG]
CONNECTIONS = {
    "a Content-Length of 2 GB": [[head("Content-Length: 2147483648"), LONG]],
    "a Content-Length of 900 MB": [[head("Content-Length: 900000000"), LONG]],
    "a body that never ends": [[head(), NEW, forever(bytes(65536))]],
    "base64 that never ends": [
        [head().replace(b"octet-stream", b"json"), as_string(NEW[:9000])[:-1], forever(b"A" * 65536)]
    ],
    "a body that stops coming": [[head(LENGTH), CUT, STALL]],
    "a body that comes a byte at a time": [[head(LENGTH), CUT, *[b"\0", 0.02] * 200]],
    "a log-in page in place of the firmware": [
        [head("Content-Length: 19").replace(b"application/octet-stream", b"text/html"), b"<html>Log in</html>"]
    ],
    "base64 with foreign characters": [
        [head("Content-Length: 8").replace(b"octet-stream", b"json"), b'"6QQC!!"'],
    ],
    "base64 that breaks off": [[head().replace(b"octet-stream", b"json"), as_string(LONG)[:30000]]],
    "a compressed answer": [[head("Content-Encoding: gzip", LENGTH), LONG]],
    "two lengths that differ": [[head("Content-Length: 100", LENGTH), LONG]],
    "an answer that is no HTTP": [[b"SSH-2.0-OpenSSH_9.2\r\n"]],
    "a redirect to another host": [
        [head("Location: http://localhost:1/x", "Content-Length: 0").replace(b"200 OK", b"302 Found")]
    ],
    "a server that answers 503": [[head("Content-Length: 0").replace(b"200 OK", b"503 Unavailable")]],
    "a connection cut, ranges offered": [[head('ETag: "one"', LENGTH), CUT], rest],
    "a connection cut, no ranges offered": [[head(LENGTH), CUT], WHOLE],
    "a connection cut, the file's ETag changed": [
        [head('ETag: "one"', LENGTH), CUT],
        [head('ETag: "two"', f"Content-Length: {len(NEW)}"), NEW],
    ],
    "a connection cut, another range than asked for": [
        [head('ETag: "one"', LENGTH), CUT],
        lambda start: rest(start + 4096) if start else WHOLE,
    ],
}


class Misbehaving(ThreadingHTTPServer):
    """Answers as a device needs it, except for the firmware: that is by the next of `scripts`, the last one for ever.

    A script is what to send, seconds to wait, or STALL; or a function that gives it for the start of the range."""

    daemon_threads = True

    def __init__(self, scripts: list) -> None:
        self.scripts = list(scripts)
        self.target = rounds.BAD
        self.told: dict | None = None
        self.waits = contextlib.ExitStack()  # the device's, until all is as it should be
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.ended = threading.Event()
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def heal(self) -> None:
        """From now on all is as it should be."""
        self.waits.close()
        self.target = rounds.GOOD
        self.scripts = [WHOLE]

    def __exit__(self, *exception) -> None:
        self.ended.set()
        self.shutdown()
        super().__exit__(*exception)


class _Handler(BaseHTTPRequestHandler):
    server: Misbehaving

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path.endswith("/properties/status/value.json"):
            self.server.told = json.loads(body)
        self.wfile.write(b"HTTP/1.1 204 No Content\r\n\r\n")

    def do_GET(self) -> None:
        if "/firmware" not in self.path:
            body = json.dumps({"id": self.server.target, "name": "2"}).encode()
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
            return
        scripts = self.server.scripts
        script = scripts.pop(0) if len(scripts) > 1 else scripts[0]
        if callable(script):
            script = script(int((self.headers["Range"] or "bytes=0-")[6:-1]))
        with contextlib.suppress(OSError):  # the device has heard enough
            for act in script:
                self._act(act)

    def _act(self, act) -> None:
        if isinstance(act, bytes):
            self.wfile.write(act)
        elif act == STALL:
            self.server.ended.wait(20)
        elif isinstance(act, float):
            time.sleep(act)
        else:
            for piece in act:
                self.wfile.write(piece)

    def log_message(self, *arguments) -> None:
        pass


@contextlib.contextmanager
def short_waits():
    """The device waits for moments only: for servers on which it gives up in the end, however long it waits."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("_STALL_MS", 100), ("_WINDOW_MS", 250)):
            patch.setattr(net.response, name, value)
        yield


def test_connection_that_cannot_be_relied_on(tmp_path, monkeypatch):
    monkeypatch.setattr(scratch, "base", f"{tmp_path}/")
    expected = table("The connection")
    outcomes = {}
    for name, scripts in CONNECTIONS.items():
        heard = io.StringIO()
        with Misbehaving(scripts) as server, server.waits, contextlib.redirect_stdout(heard):
            if expected[name][0] == "stalled":
                server.waits.enter_context(short_waits())
            rounds.rounds(rounds.start(server.url), server)
            outcomes[name] = Outcome(heard.getvalue().splitlines())
    check("The connection", outcomes)
