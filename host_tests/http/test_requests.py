"""Products make requests as with micropython-lib's `requests`: what its own tests look at, on a server that listens,
and what ours refuses where that one would let somebody else frame the request or answer it.

That project's tests ask for three things that are refused here: a Host, a Connection, and a Content-Length of the
caller's own (`test_overwrite_get_headers`, half of `test_overwrite_post_json_headers`,
`test_overwrite_post_chunked_data_headers`).
"""

import json
import ssl

import pytest
import trustme

from host_tests.fakes.server import Server, answer, chunks

GOOD = answer(b'{"id": "abc"}')
UNICODE = "a\u03b1b\u03b2c\u03b3d\u03b4"


@pytest.fixture
def ask(driver, server):
    """Make a request; what came out of it. What the server heard is in `server.heard`."""

    def ask(method, *script, path="/x", **order):
        server.play(list(script) or [GOOD])
        result = driver.call(server.url + path, product=method, **order)
        assert "crash" not in result, result
        return result

    return ask


def heard(server):
    """The one request that came: its first line, its header fields, its body."""
    assert len(server.heard) == 1, server.heard
    head, _, body = server.heard[0].partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    fields = dict(line.split(": ", 1) for line in lines)
    assert len(fields) == len(lines), "a field came twice"
    return first, fields, body


# what micropython-lib's tests look at


@pytest.mark.parametrize("method", ["get", "head", "post", "put", "patch", "delete"])
def test_each_method_by_its_name(ask, server, method):
    assert ask(method, path="/")["status"] == 200
    first, fields, body = heard(server)
    assert first == f"{method.upper()} / HTTP/1.1" and body == b""
    assert fields.pop("Content-Length", "0") == "0"
    assert fields == {"Host": server.url.partition("//")[2], "Connection": "close", "User-Agent": "micropython"}


def test_address_without_a_path_is_the_root(ask, server):
    ask("get", path="")
    assert heard(server)[0] == "GET / HTTP/1.1"


def test_name_and_password(ask, server):
    ask("get", options={"auth": ["test-username", "test-password"]})
    assert heard(server)[1]["Authorization"] == "Basic dGVzdC11c2VybmFtZTp0ZXN0LXBhc3N3b3Jk"


def test_header_of_ones_own_in_place_of_ours(ask, server):
    ask("get", options={"headers": {"User-Agent": "test-agent", "X-Mine": "1"}})
    fields = heard(server)[1]
    assert fields["User-Agent"] == "test-agent" and fields["X-Mine"] == "1"


@pytest.mark.parametrize("method", ["get", "post"])
@pytest.mark.parametrize("value", ["test", UNICODE, {"a": [1, None]}, 0, False, []])
def test_json_with_its_length_in_bytes(ask, server, method, value):
    ask(method, options={"json": value})
    _, fields, body = heard(server)
    assert fields["Content-Type"] == "application/json" and fields["Content-Length"] == str(len(body))
    assert json.loads(body) == value


def test_json_under_another_content_type(ask, server):
    ask("get", options={"json": "test", "headers": {"Content-Type": "text/plain"}})
    assert heard(server)[1]["Content-Type"] == "text/plain"


@pytest.mark.parametrize("method", ["get", "post"])
@pytest.mark.parametrize("text", ["body", UNICODE])
def test_text_as_a_body(ask, server, method, text):
    ask(method, options={"data": text})
    _, fields, body = heard(server)
    assert body == text.encode() and fields["Content-Length"] == str(len(body)) and "Content-Type" not in fields


def test_bytes_as_a_body(ask, server):
    ask("post", options={"bytes": list(b"body\x01\x02\x03\xff")})
    _, fields, body = heard(server)
    assert body == b"body\x01\x02\x03\xff" and fields["Content-Length"] == "8"


@pytest.mark.parametrize("method", ["get", "post"])
def test_iterator_as_a_body_goes_in_chunks(ask, server, method):
    ask(method, options={"pieces": ["test", "", UNICODE]})
    _, fields, body = heard(server)
    assert fields["Transfer-Encoding"] == "chunked" and "Content-Length" not in fields
    assert body == chunks(b"test", UNICODE.encode())


# the answer


def test_answer_as_text_json_and_stream(ask):
    content = json.dumps({"id": UNICODE}).encode()
    for whole in (answer(content), b"HTTP/1.0 200 OK\r\n\r\n" + content):
        assert ask("get", whole)["text"] == content.decode()
        assert ask("get", whole, read="json")["json"] == {"id": UNICODE}
    pieces = ask("get", answer(bytes(20_000)), read=3000)["pieces"]
    assert sum(pieces) == 20_000 and max(pieces) <= 3000
    assert ask("get", answer(b"{}", headers=["ETag: 7"]))["headers"]["etag"] == "7"


@pytest.mark.parametrize("status", [400, 404, 500])
def test_refusal_is_an_answer_like_any_other(ask, status):
    result = ask("get", answer(b"no", f"{status} No"))
    assert (result["status"], result["text"]) == (status, "no")


def test_head_has_no_body_whatever_length_it_tells(ask):
    for lines in ("Content-Length: 5", "Transfer-Encoding: chunked", "ETag: 7"):
        assert ask("head", f"HTTP/1.1 200 OK\r\n{lines}\r\n\r\n".encode())["text"] == ""


def test_answer_that_is_cut_too_long_or_no_json(ask):
    assert ask("get", answer(b"{}")[:-1])["code"] == "body_cut"
    assert ask("get", answer(bytes(8193)))["code"] == "bad_answer"
    assert ask("get", answer(b"{"), read="json")["code"] == "bad_answer"
    assert ask("get", answer(b"[" * 5000), read="json")["code"] == "bad_answer"
    for not_utf_8 in (b'"\xff"', '"x"'.encode("utf-16")):
        assert ask("get", answer(not_utf_8), read="json")["code"] == "bad_answer"


def test_text_in_another_encoding_is_a_value_error(ask):
    assert "refused" in ask("get", answer(b"\xff\xfe"))


# what is refused


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_is_not_followed(ask, server, status):
    result = ask("get", answer(b"", f"{status} Moved", ["Location: /elsewhere"]))
    assert result["code"] == "redirect" and len(server.heard) == 1


@pytest.mark.parametrize("name", ["Host", "Connection", "Content-Length", "content-length", "Transfer-Encoding"])
def test_caller_cannot_frame_another_request(ask, server, name):
    assert ask("post", options={"data": "x", "headers": {name: "4"}})["refused"] == name
    assert server.connections == 0


@pytest.mark.parametrize("text", ["1\r\nX-ApiKey: 2", "1\n", "\r"])
def test_line_break_in_a_header_or_an_address_is_not_sent(ask, server, text):
    for order in ({"options": {"headers": {"X": text}}}, {"options": {"headers": {text: "X"}}}, {"path": "/" + text}):
        assert ask("get", **order)["refused"] == "line break"
        assert server.connections == 0


@pytest.mark.parametrize("url", ["ftp://x/", "x", "http://", "http://name:word@x/"])
def test_address_that_is_none(driver, url):
    assert driver.call(url, product="get")["code"] == "bad_server"


def test_tls_is_verified_and_without_certificates_nothing_is_sent(driver, tmp_path):
    ca, other = trustme.CA(), trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("localhost").configure_cert(context)
    for name, each in (("ca", ca), ("other", other)):
        each.cert_pem.write_to_path(tmp_path / name)
    with Server([GOOD], tls=context) as server:
        url = f"https://localhost:{server.port}/x"
        assert driver.call(url, product="get", options={"ca": str(tmp_path / "ca")})["text"] == '{"id": "abc"}'
        server.play([GOOD])
        assert driver.call(url, product="get")["code"] == "no_ca"
        assert driver.call(url, product="get", options={"ca": str(tmp_path / "other")})["code"] == "unknown_ca"
        assert server.heard == []
