"""Whatever JSON a server answers the calls with: an Id is an Id, or the answer is refused; and no key gets about."""

import json

import pytest

from host_tests.fakes.server import answer

THING, KEY, VERSION = "a" * 32, "b" * 32, "c" * 32
RECORD = [THING, KEY]
CALLS = {"activate": ("thingId", "apiKey"), "target_version": ("id",), "current_version": ("id",)}
WELL = {"thingId": "d" * 32, "apiKey": "e" * 32, "id": VERSION, "name": "2", "description": ""}

NO_IDS = [
    "null",
    "true",
    "5",
    "-1.5e300",
    "1e999",
    "[]",
    "{}",
    '["a"]',
    '{"id": "a"}',
    '""',
    '"."',
    '".."',
    '"a/b"',
    '"a b"',
]
NO_IDS += [
    '"a\\u0000"',
    '"a\\nX-Other: 1"',
    '"\\u00e4"',
    '"\\ud800"',
    '"\\u0661"',
    f'"{"x" * 65}"',
    f'"{"x" * 3000}"',
    "9" * 1000,
]
NO_IDS += ['"a?b"', '"a%2f"', '"{serial}"', "[" * 200 + "]" * 200]


def call(driver, server, text: str, name: str) -> dict:
    server.play([answer(text.encode())])
    arguments = ["THERM1"] if name == "activate" else []
    result = driver.call(server.url, call=name, arguments=arguments, record=RECORD)
    assert "crash" not in result, result
    return result


def with_member(name: str, value: str) -> str:
    return json.dumps({**WELL, name: "@"}).replace('"@"', value)


@pytest.mark.parametrize("value", NO_IDS)
def test_what_is_no_id_is_refused(driver, server, value):
    for call_name, members in CALLS.items():
        for member in members:
            assert call(driver, server, with_member(member, value), call_name).get("code") == "bad_answer", (
                call_name,
                member,
            )


@pytest.mark.parametrize("value", NO_IDS)
def test_id_stands_in_for_what_is_no_name(driver, server, value):
    assert call(driver, server, with_member("name", value), "target_version")["value"] == [VERSION, VERSION]


@pytest.mark.parametrize(
    "text", ["[]", "null", "5", '"id"', "{}", '[{"id": "a"}]', '{"ID": "a"}', '{"id": "a", "id": 5}']
)
def test_what_is_no_such_object_is_refused(driver, server, text):
    for name in CALLS:
        assert call(driver, server, text, name)["code"] == "bad_answer"


def test_duplicate_members_give_one_of_them(driver, server):
    result = call(driver, server, '{"id": "a", "name": "1", "id": "b", "name": "2"}', "target_version")
    assert result["value"][0] in "ab" and result["value"][1] in "12"


@pytest.mark.parametrize("member", ["id", "name"])
def test_key_that_comes_back_as_something_else_is_not_taken(driver, server, member):
    """What is taken is shown on the console."""
    result = call(driver, server, with_member(member, f'"{KEY}"'), "target_version")
    assert KEY not in str(result)
    assert KEY not in str(call(driver, server, with_member("id", f'"{KEY}"'), "current_version"))
    same = json.dumps({**WELL, "thingId": WELL["apiKey"]})
    assert call(driver, server, same, "activate")["code"] == "bad_answer"


STATUSES = {200: None, 302: "redirect", 400: "refused", 401: "key_dropped", 403: "refused", 404: "no_target"}
STATUSES |= {410: "no_target", 429: "server_error", 500: "server_error", 503: "server_error", 999: "server_error"}


LOGIN = b"<!DOCTYPE html><title>Hotel WiFi</title>"


@pytest.mark.parametrize("body, is_one", [(b"", True), (b"{}", True), (b"null", True), (b'"ok"', True), (LOGIN, False),
                                          (b"OK", False), (b" ", False), (b"\xff", False)])  # fmt: skip
def test_login_page_is_no_confirmation(driver, server, body, is_one):
    for whole in (answer(body, kind="text/html"), b"HTTP/1.1 200 OK\r\n\r\n" + body):
        server.play([whole])
        result = driver.call(server.url, call="confirm", arguments=["v1"], record=RECORD)
        assert result.get("code") == (None if is_one else "bad_answer"), result
        assert "crash" not in result, result


def test_every_request_says_who_asks(driver, server):
    for name, arguments in (("activate", ["THERM1"]), ("target_version", []), ("confirm", ["v1"])):
        server.play([answer(b"{}")])
        driver.call(server.url, call=name, arguments=arguments, record=RECORD)
        assert server.heard[0].count(b"\r\nUser-Agent: gadgetkeeper-thermometer/7\r\n") == 1, server.heard


@pytest.mark.parametrize("status", STATUSES)
def test_status_without_a_word(driver, server, status):
    # The second answer is for the question whether the thing is still there.
    server.play([answer(json.dumps(WELL).encode(), f"{status} X")], [answer(b"{}")])
    result = driver.call(server.url, call="target_version", record=RECORD)
    assert result.get("code") == STATUSES[status], result
