"""Generated answers: whatever the bytes, one of the agent's own errors or an answer, and the same on both runtimes.

GADGETKEEPER_FUZZ sets how many answers are generated, `make fuzz-net` makes it many.
"""

import json
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from host_tests.http.rig import Driver
from tools.twin.paths import VM

EXAMPLES = int(os.environ.get("GADGETKEEPER_FUZZ", 100))
CODES = {"bad_answer", "body_cut", "no_answer", "redirect"}

sampled = settings(
    max_examples=EXAMPLES,
    derandomize=EXAMPLES <= 100,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)

numbers = st.one_of(
    st.integers(-5, 40).map(str),
    st.sampled_from(
        ["", "0x5", "5 5", "5,5", "+5", "00005", "1e1", "\u0661", "9" * 9, "9" * 10, "9" * 400, "5\x00", "-0"]
    ),
)
names = st.sampled_from(["Content-Length", "Transfer-Encoding", "Content-Type", "Connection", "Location", "ETag", "X"])
values = st.one_of(
    numbers,
    st.sampled_from(
        ["chunked", "Chunked", "gzip", "identity", "close", "keep-alive", "/", "/x", "http://", "//x", "\xe4"]
    ),
    st.text(max_size=20).filter(lambda text: "\n" not in text),
)
header = st.tuples(names, st.sampled_from([": ", ":", " : ", "", ":\t"]), values).map("".join)
status = st.one_of(
    st.sampled_from(
        ["HTTP/1.1 200 OK", "HTTP/1.0 200 OK", "HTTP/1.1 100 C", "HTTP/1.1 204", "HTTP/1.1 302 F", "HTTP/2 200"]
    ),
    st.text(max_size=30).filter(lambda text: "\n" not in text),
)
json_text = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=9)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=9,
).map(lambda value: json.dumps(value).encode())
chunk = st.tuples(numbers, st.sampled_from(["\r\n", "\n", ";x\r\n", ""]), st.binary(max_size=20)).map(
    lambda parts: (parts[0] + parts[1]).encode() + parts[2] + b"\r\n"
)
body = st.one_of(json_text, st.binary(max_size=60), st.lists(chunk, max_size=5).map(b"".join))


@st.composite
def answers(draw):
    """Something like an answer, with a fault here and there."""
    lines = [draw(status), *draw(st.lists(header, max_size=5)), "", ""]
    raw = draw(st.sampled_from(["\r\n", "\r\n", "\n"])).join(lines).encode() + draw(body)
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(raw)))
        raw = raw[:at] + draw(st.binary(max_size=3)) + raw[at + draw(st.integers(0, 3)) :]
    return raw


@pytest.fixture(scope="module")
def drivers(tmp_path_factory):
    runtimes = ("cpython", "vm") if VM.exists() else ("cpython",)
    made = [Driver(name, tmp_path_factory.mktemp("fuzz")) for name in runtimes]
    yield made
    for driver in made:
        driver.close()


@pytest.mark.parametrize("read", ["json", "body"])
def test_generated_answers(drivers, server, read):
    @sampled
    @given(answers())
    def run(raw):
        results = []
        for driver in drivers:
            server.play([raw])
            result = driver.call(server.url, read=read)
            assert "crash" not in result, result
            assert "code" not in result or result["code"] in CODES, result
            results.append((result.get("code"), result.get("status"), result.get("body")))
        if read == "body":  # the runtimes' JSON readers differ in what they let pass
            assert len(set(map(str, results))) == 1, results

    run()
