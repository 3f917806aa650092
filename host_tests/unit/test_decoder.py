"""Whatever form and cut into whatever pieces: the image comes out byte for byte, or an error says why not."""

from agent.errors import RetryableError
from ota.decoder import open_body

from host_tests.unit.expect import raises
from tools.proof.reply import Reply, as_string

IMAGE = bytes((at * 31 + at // 7) & 0xFF for at in range(5000))


def read_all(body, piece=4096):
    got = bytearray()
    buffer = bytearray(piece)
    while True:
        count = body.readinto(memoryview(buffer))
        if count == 0:
            body.finish()
            return bytes(got)
        got.extend(buffer[:count])


def decode(text, **how):
    return read_all(open_body(Reply(text, **how)))


def test_raw_is_passed_on_with_its_length():
    body = open_body(Reply(IMAGE, kind="application/octet-stream"))
    assert body.size_bytes == len(IMAGE) and read_all(body) == IMAGE


def test_string_survives_every_piece_size():
    for piece in (1, 2, 3, 4, 5, 7, 64, 2047, 2048, 2049, 100000):
        for size in (5000, 4999, 4998, 1, 2, 3, 0):
            assert decode(as_string(IMAGE[:size]), piece=piece) == IMAGE[:size], (piece, size)


def test_escapes_and_white_space_do_not_matter():
    plain = as_string(IMAGE)
    assert b"/" in plain and b"+" in plain
    text = b" \r\n\t" + plain.replace(b"/", b"\\/").replace(b"+", b"\\u002b") + b" \n"
    for piece in (1, 2, 3, 5, 6, 7, 1000):
        assert decode(text, piece=piece) == IMAGE, piece


def test_lines_as_mime_and_pem_make_them_do_not_matter():
    for size in (700, 599, 598, 57, 1):
        text = as_string(IMAGE[:size])[1:-1]
        for width in (60, 76):
            lines = [text[at : at + width] for at in range(0, len(text), width)]
            for end in (b"\\n", b"\\r\\n", b"\\u000a", b"\n", b"\r\n"):
                for last in (b"", end):
                    body = b'"' + end.join(lines) + last + b'"\n'
                    for piece in (1, 3, 7, 77, 1460):
                        assert decode(body, piece=piece) == IMAGE[:size], (size, width, end, last, piece)


def test_object_members_in_any_order_and_unknown_ones_do_not_matter():
    firmware = b'"firmware" : ' + as_string(IMAGE)
    other = b'"a": {"firmware": "no", "b": [1, "]}", {}]}, "c\\"": null, "d": -1.5e3'
    for text in (
        b"{" + firmware + b"}",
        b"{" + other + b", " + firmware + b" }",
        b"{" + firmware + b", " + other + b"}",
    ):
        for piece in (1, 3, 1000):
            assert decode(text, piece=piece) == IMAGE, (text[:20], piece)


def test_size_is_never_announced_too_small():
    for size in (4998, 4999, 5000):
        for text in (as_string(IMAGE[:size]), b'{"firmware": ' + as_string(IMAGE[:size]) + b', "x": "yyyyyyyy"}'):
            body = open_body(Reply(text))
            assert body.size_bytes - body.surplus_bytes <= size <= body.size_bytes, (size, body.size_bytes)


def test_no_length_no_size():
    assert open_body(Reply(as_string(IMAGE), length=False, bounded=False)).size_bytes is None


def test_cut_anywhere_is_worth_another_try():
    text = b'{"a": [1, "x"], "firmware": ' + as_string(IMAGE[:30]) + b', "b": {}}'
    for end in range(len(text) - 1):
        raises(RetryableError, "firmware_cut", decode, text[:end])


def test_what_is_not_base64_is_refused():
    good = as_string(IMAGE[:300])
    for bad in (b"!", b" ", b"=", b"\\t", b"\\u00e4", b"\\u005c", b"-", b"\x00", b"====", b"\\"):
        for at in (1, 41, 200, len(good) - 1):
            raises(RetryableError, "bad_base64", decode, good[:at] + bad + good[at:])
    raises(RetryableError, "bad_base64", decode, b'"AAA=' + good[1:])
    raises(RetryableError, "bad_base64", decode, b'"AAA"')
    raises(RetryableError, "bad_base64", decode, b'"A==="')


def test_what_is_not_such_json_is_refused():
    for text in (
        b"12",
        b"[]",
        b"<html>not found</html>",
        b"{}",
        b'{"firmware": 12}',
        b'{"firmware": null}',
        b'{"other": "AAAA"}',
        b'{"a" 1}',
        b'"AAAA" x',
        b'{"firmware": "AAAA"} x',
        b'{"firmware": "AAAA" "b"}',
        b'{"a": ' + b"[" * 50,
        b'{"a": "' + b"x" * 20000,
    ):
        raises(RetryableError, "bad_firmware_body", decode, text)


def test_empty_is_worth_another_try():
    raises(RetryableError, "firmware_cut", decode, b"")
