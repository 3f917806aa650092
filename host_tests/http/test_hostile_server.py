"""Whatever a server does: one of the agent's own errors or the whole answer, soon, in little memory, and then again."""

import json

import pytest

from host_tests.fakes.server import HOLD, RESET, Server, answer, chunks

GOOD = answer(b'{"id": "abc"}')
KEY = "0123456789abcdef0123456789abcdef"


def call(driver, server, *script, **order):
    """Call a server that plays this script; then call it once more, well again."""
    server.play(list(script))
    result = driver.call(server.url + "/v1/x.json", **order)
    assert "crash" not in result, result
    server.play([GOOD])
    waits = order.get("waits", "own")
    for _ in range(20 if waits == "hasty" else 1):  # in haste, a busy machine may look like a server that stalls
        again = driver.call(server.url + "/v1/x.json", waits=waits)
        if again.get("code") != "stalled":
            break
    assert again.get("json") == {"id": "abc"}, "not well with a server that is well"
    return result


def head(*lines: str, status="HTTP/1.1 200 OK") -> bytes:
    return "\r\n".join([status, *lines, "", ""]).encode()


@pytest.mark.parametrize("end", ["close", RESET])
def test_cut_after_every_byte_of_a_small_answer(driver, server, end):
    for whole in (answer(b'{"a": 1}'), head("Transfer-Encoding: chunked") + chunks(b'{"a', b'": 1}')):
        for count in range(len(whole)):
            acts = [whole[:count]] if end == "close" else [whole[:count], 0.002, RESET]
            server.play(acts)
            result = driver.call(server.url + "/x")
            # A reset may overtake what was sent before it.
            expected = {"body_cut"} if count else {"no_answer"}
            assert result.get("code") in (expected if end == "close" else {"body_cut", "no_answer"}), (count, result)
    assert call(driver, server, whole)["json"] == {"a": 1}


STALLS = [[], [b"HTTP/1.1 2"], [head("Content-Length: 9")], [head("Content-Length: 9") + b'{"a"'], [head()]]


@pytest.mark.parametrize("start", STALLS)
def test_server_that_stalls(driver, server, start):
    assert call(driver, server, *start, HOLD, waits="hasty")["code"] == "stalled"


def test_server_that_accepts_and_is_silent(driver):
    with Server([HOLD], greet=True) as server:
        assert driver.call(server.url, waits="hasty")["code"] == "stalled"


@pytest.mark.parametrize("read", ["json", "body"])
@pytest.mark.parametrize("whole", [GOOD, head("Transfer-Encoding: chunked") + chunks(*[b"1"] * 50)])
def test_server_that_dribbles(driver, server, whole, read):
    acts = [act for at in range(len(whole)) for act in (whole[at : at + 1], 0.03)]
    assert call(driver, server, *acts, read=read, waits="hasty")["code"] == "stalled"


def test_slow_body_is_given_up_long_before_its_time_is_over(driver, server):
    acts = [act for _ in range(36) for act in (b"1", 0.03)]
    assert call(driver, server, head("Content-Length: 36"), *acts, read="body", waits="hasty")["code"] == "stalled"


def test_slow_but_fast_enough_body_is_taken(driver, server):
    # Over two windows, each of which brings nine times what it must.
    body = bytes(150_000)
    acts = [act for at in range(0, len(body), 3000) for act in (body[at : at + 3000], 0.06)]
    result = call(driver, server, head(f"Content-Length: {len(body)}"), *acts, read="body", waits="short window")
    assert result["body"] == [150_000, 0]


def test_body_that_never_ends_has_an_end(driver, server):
    piece = bytes(2000)
    acts = [act for _ in range(300) for act in (piece, 0.02)]
    server.play([head(), *acts])
    assert driver.call(server.url, read="body", waits="hasty")["code"] == "stalled"


def test_flood_of_framing_around_single_bytes_has_an_end(driver, server):
    flood = (b"1;" + b"x" * 200 + b"\r\n.\r\n") * 40_000
    assert (
        call(driver, server, head("Transfer-Encoding: chunked") + flood, read="body", waits="hasty")["code"]
        == "stalled"
    )


WRONG_LENGTHS = ["-1", "+13", "0x0d", "13, 13", "13 13", "", "1e1", "9" * 20, "\u0661\u0663", "13abc", "NaN"]


@pytest.mark.parametrize("length", WRONG_LENGTHS)
def test_length_that_is_none(driver, server, length):
    result = call(driver, server, f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n".encode() + b'{"id": "abc"}')
    assert result["code"] == "bad_answer"


SAYS_NOTHING = ["Content-Encoding:", "Content-Encoding: Identity", "Transfer-Encoding: identity", "Transfer-Encoding: ",
                "ETag:", "Connection: ", "Connection: close, TE", "Content-Type:", "Retry-After:"]  # fmt: skip


@pytest.mark.parametrize("field", SAYS_NOTHING)
def test_field_that_says_nothing_is_taken_as_nothing(driver, server, field):
    assert call(driver, server, answer(b'{"a": 1}', headers=[field]))["json"] == {"a": 1}


@pytest.mark.parametrize("name", ["Content-Security-Policy", "Set-Cookie", "X-Trace"])
def test_long_field_that_nobody_reads_is_skipped(driver, server, name):
    for size in (1100, 4000, 7000):
        result = call(driver, server, answer(b'{"a": 1}', headers=[f"{name}: {'x' * size}", 'ETag: "e"']))
        assert result["json"] == {"a": 1} and result["headers"]["etag"] == '"e"', size


BAD_HEADS = {
    "two lengths": head("Content-Length: 13", "Content-Length: 13") + b'{"id": "abc"}',
    "two different lengths": head("Content-Length: 5", "content-length: 13") + b'{"id": "abc"}',
    "two codings": head("Transfer-Encoding: gzip", "Transfer-Encoding: chunked") + chunks(b'{"id": "abc"}'),
    "length and chunks": head("Content-Length: 13", "Transfer-Encoding: chunked") + chunks(b'{"id": "abc"}'),
    "gzip": head("Transfer-Encoding: gzip, chunked") + chunks(b'{"id": "abc"}'),
    "folded": head("Transfer-Encoding:", " chunked") + chunks(b'{"id": "abc"}'),
    "compressed": head("Content-Encoding: gzip", "Content-Length: 13") + b'{"id": "abc"}',
    "no status": head(status="HTTP/1.1"),
    "word for status": head(status="HTTP/1.1 OK 200"),
    "long status": head(status="HTTP/1.1 2000 OK"),
    "negative status": head(status="HTTP/1.1 -20 OK"),
    "HTTP/2": head(status="HTTP/2 200 OK"),
    "HTTP/0.9": b"<html>hello</html>\r\n\r\n",
    "SSH": b"SSH-2.0-OpenSSH_9.2\r\n",
    "zeros": bytes(3000),
    "trash": bytes(range(256)) * 9,
    "UTF-8 trash in a name": head()[:-2] + b"\xff\xfe: 1\r\n\r\n",
    "UTF-8 trash in a value": b"HTTP/1.1 200 OK\r\nContent-Type: \xc3\x28\r\n\r\n{}",
    "long line of a field that is read": head("Content-Type: " + "x" * 2000),
    "long lines, together": head(*["X: " + "x" * 2000] * 4),
    "endless line": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 300_000,
    "endless status line": b"HTTP/1.1 200 " + b"x" * 300_000,
    "no line end": b"x" * 300_000,
    "many headers": head(*[f"X-{number}: y" for number in range(1000)]),
    "endless headers": b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 50_000,
    "endless interim answers": head(status="HTTP/1.1 100 Continue") * 9000,
    "large head": head(*["X: " + "x" * 900] * 20),
}


@pytest.mark.parametrize("name", BAD_HEADS)
def test_head_that_cannot_be_taken(driver, server, name):
    assert call(driver, server, BAD_HEADS[name])["code"] == "bad_answer"


BAD_CHUNKS = [b"x\r\n", b"-5\r\nhello\r\n0\r\n\r\n", b"\r\n\r\n", b"5 5\r\nhello\r\n", b"0x5\r\nhello\r\n"]
BAD_CHUNKS += [b"1_0\r\n" + b"x" * 16]
BAD_CHUNKS += [b"5\r\nhelloo\r\n0\r\n\r\n", b"fffffffff\r\nhello", b"5" * 2000, b"5;" + b"x" * 2000, b"+5\r\nhello\r\n"]
BAD_CHUNKS += [b"1\r\n1\r\n0\r\n" + b"X: y\r\n" * 1000, b"\xd9\xa1\r\n1\r\n0\r\n\r\n"]


@pytest.mark.parametrize("body", BAD_CHUNKS)
@pytest.mark.parametrize("read", ["json", "body"])
def test_chunks_that_are_none(driver, server, body, read):
    assert call(driver, server, head("Transfer-Encoding: chunked") + body, read=read)["code"] == "bad_answer"


@pytest.mark.parametrize("size", ["7fffffff", "ffffffff"])
def test_promised_gigabytes_cost_no_memory(driver, server, size):
    result = call(driver, server, head("Transfer-Encoding: chunked") + size.encode() + b"\r\nx", read="body")
    assert result["code"] == "body_cut"
    result = call(driver, server, head(f"Content-Length: {int(size, 16) % 1_000_000_000}") + b"x", read="body")
    assert result["code"] == "body_cut"


BAD_JSON = {
    "empty": b"",
    "white space": b"  \r\n",
    "HTML": b"<!DOCTYPE html><html><body>Log in to the hotel</body></html>",
    "half": b'{"id": ',
    "two": b"{} {}",
    "deep": b"[" * 4000,
    "deep and closed": b'{"a":' * 600 + b"1" + b"}" * 600,
    "UTF-8 trash": b'{"id": "\xff\xfe"}',
    "half of a character": b'{"id": "\xe2\x82"}',
    "long": b'{"id": "' + b"x" * 9000 + b'"}',
    "very long": b'{"id": "' + b"x" * 500_000 + b'"}',
    "control characters": bytes(range(32)),
    "comment": b"/* hello */ {}",
    "word": b"nul",
}


@pytest.mark.parametrize("form", ["length", "chunks", "end of connection"])
@pytest.mark.parametrize("name", BAD_JSON)
def test_body_that_is_no_json(driver, server, name, form):
    body = BAD_JSON[name]
    if form == "length":
        whole = answer(body)
    elif form == "chunks":
        whole = head("Transfer-Encoding: chunked") + chunks(*(body[at : at + 1000] for at in range(0, len(body), 1000)))
    else:
        whole = head() + body
    result = call(driver, server, whole)
    if name == "deep and closed" and "json" in result:  # MicroPython's reader takes it
        return
    assert result.get("code") == "bad_answer", result


def test_longest_json_is_taken(driver, server):
    text = json.dumps({"id": "x" * 8000}).encode().ljust(8192)  # a description of 2000 characters in UTF-8 and all
    assert call(driver, server, answer(text))["json"] == {"id": "x" * 8000}
    assert call(driver, server, answer(text + b" "))["code"] == "bad_answer"


GOOD_ANSWERS = {
    "HTTP/1.0": head("Content-Length: 3", status="HTTP/1.0 200 OK") + b"[1]",
    "HTTP/1.0 without length": head(status="HTTP/1.0 200 OK") + b"[1]",
    "not encoded": head("Content-Encoding: identity", "Content-Length: 3") + b"[1]",
    "no reason": head("Content-Length: 3", status="HTTP/1.1 200") + b"[1]",
    "interim": head(status="HTTP/1.1 100 Continue") + head("X: y", status="HTTP/1.1 103 Early") + answer(b"[1]"),
    "interim with a length": head("Content-Length: 999", status="HTTP/1.1 100 Continue") + head() + b"[1]",
    "chunks with extension and trailer": head("transfer-encoding: Chunked") + b"3;a=b\r\n[1]\r\n0\r\nX: y\r\n\r\n",
    "zero-padded chunk": head("Transfer-Encoding: chunked") + b"00003\r\n[1]\r\n000\r\n\r\n",
    "bare line feeds": answer(b"[1]").replace(b"\r\n", b"\n"),
    "surplus": answer(b"[1]") + b"HTTP/1.1 200 OK\r\n\r\nmore",
    "foreign header": head("X: \u00e4\u20ac")[:-2] + b"Y: \xff\r\nno colon\r\n: \r\nContent-Length: 3\r\n\r\n[1]",
}


@pytest.mark.parametrize("name", GOOD_ANSWERS)
def test_unusual_answer_that_is_right(driver, server, name):
    assert call(driver, server, GOOD_ANSWERS[name])["json"] == [1]


def redirect(where: str, status="302 Found") -> bytes:
    return answer(b"moved", status, [f"Location: {where}"])


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
def test_redirect_is_not_followed_not_even_at_home(driver, server, status):
    for where in ("/v2/y.json?z=1", server.url + "/v2/y.json?z=1"):
        for method in ("GET", "PUT"):
            server.play([redirect(where, status)], [GOOD])
            result = driver.call(server.url + "/v1/x.json", method=method, headers={"X-ApiKey": KEY})
            assert (result["code"], result["permanent"], len(server.heard)) == ("redirect", False, 1)


ELSEWHERE = [
    "http://localhost:{other}/x",
    "http://127.0.0.1:{other}/x",
    "http://127.0.0.1:{other}",
    "//127.0.0.1:{other}/x",
    "http:127.0.0.1:{other}/x",
    "http://127.0.0.1:{own}@127.0.0.1:{other}/",
    "http://127.0.0.1:{own}.evil.example/",
    "https://127.0.0.1:{own}/x",
    "https://127.0.0.1:{other}/x",
    "ftp://127.0.0.1:{other}/",
    "http://[::1]:{other}/",
    "http://127.0.0.1:\u0661/",
    "\\\\127.0.0.1:{other}\\",
    "x.json",
    "?",
    "javascript:1",
]


@pytest.mark.parametrize("where", ELSEWHERE)
def test_redirect_to_elsewhere_is_not_followed_and_nobody_else_hears_a_secret(driver, server, where):
    with Server([GOOD]) as other:
        where = where.format(other=other.port, own=server.port)
        for status in ("302 Found", "307 Temporary"):
            server.play([redirect(where, status)], [GOOD])
            result = driver.call(server.url + "/x", headers={"X-ApiKey": KEY})
            assert (result.get("code"), result.get("permanent"), len(server.heard)) == ("redirect", False, 1)
            assert KEY not in str(result)
        assert other.connections == 0


def test_location_beside_another_status_changes_nothing(driver, server):
    assert call(driver, server, answer(b"[1]", "201 Created", ["Location: http://localhost/"]))["json"] == [1]


def test_no_content_has_no_body(driver, server):
    for more in ("", "Content-Length: 5", "Transfer-Encoding: chunked"):
        result = call(driver, server, head(*([more] if more else []), status="HTTP/1.1 204 No Content"), read="body")
        assert (result["status"], result["body"]) == (204, [0, 0])


def test_memory_does_not_grow(driver, server):
    scripts = [[GOOD], [RESET], [b"HTTP/1.1 2"], [answer(BAD_JSON["very long"])], [BAD_HEADS["endless headers"]]]
    seen = []
    for _ in range(8):
        for script in scripts:
            server.play(script)
            driver.call(server.url)
        server.play([GOOD])
        seen.append(driver.call(server.url).get("allocated", 0))
    assert seen[-1] <= seen[2] + 256, seen
