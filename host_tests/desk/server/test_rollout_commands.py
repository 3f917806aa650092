"""Rollouts from the command line and by their calls, against a server as a device meets it."""

import pytest

from host_tests.desk.server.rig import HTTP, NEXT, assert_error, publish
from tools.server import VendorError


@pytest.fixture(params=["sqlite", "postgresql"])
def field(request, fields, tmp_path):
    """A field on either database; S1 and S2 are activated, version 2 is published."""
    with fields.open(tmp_path, request.param) as made:
        made.devices = [made.device("S1"), made.device("S2")]
        made.next = publish(made.server, made.template, tmp_path, NEXT)
        yield made


def targets(field) -> list[str]:
    """What each device is told to run."""
    return [device.poll().json()["name"] for device in field.devices]


def test_rollout_is_started_watched_paused_resumed_and_cancelled(cli, field):
    plan = ("--canaries", "S1", "--stages", "0%:1h,100%:2h", "--pause-above", "20%", "--count-min", "5")
    status, out, err = cli("rollout", "start", "Thermometer", "2", *plan, "--silent-after", "30m")
    assert (status, err) == (0, "")
    assert "of version 2 started: 0 % for 1h, 100 % for 2h" in out
    assert targets(field) == ["2", "1"]
    field.devices[0].write(f'{{"phase": "given up", "versionId": "{field.next["id"]}", "attempt": 3}}', "status")

    shown = cli("rollout", "show", "Thermometer")[1].splitlines()
    for line in (
        "state\trunning",
        "told\t1",
        "failed\t1",
        "pauses above\t20 % of 5 things or more",
        "silent after\t30m",
    ):
        assert line in shown
    assert any(line.startswith("failed\tS1, told ") for line in shown)
    assert "\trunning\t1 of 2\t1\t0\t1\t0\t" in cli("rollout", "list")[1]

    assert cli("rollout", "pause", "Thermometer", "--reason", "too hot")[0] == 0
    assert "state\tpaused: too hot" in cli("rollout", "show", "Thermometer")[1].splitlines()
    assert cli("rollout", "resume", "Thermometer")[:2] == (0, "rollout of version 2 goes on, in stage 1\n")
    assert cli("rollout", "cancel", "Thermometer")[0] == 0
    assert targets(field) == ["1", "1"]
    for again in ("pause", "resume", "cancel"):
        status, _, err = cli("rollout", again, "Thermometer")
        assert (status, err.count("\n")) == (1, 1) and "is cancelled" in err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--stages", "10%"), "no stage like 10%:1d"),
        (("--stages", "10%:1y"), "no length of time"),
        (("--stages", "110%:1d"), "no percentage"),
        (("--count-min", "0"), "no number of things"),
    ],
)
def test_plan_that_cannot_be_read_is_one_line_and_nothing_starts(cli, field, arguments, told):
    status, _, err = cli("rollout", "start", "Thermometer", "2", *arguments)
    assert (status, err.count("\n")) == (2, 1) and told in err
    assert field.server.vendor.rollouts() == []


def test_plan_that_the_server_refuses_is_told_without_the_validators_words(cli):
    status, _, err = cli("rollout", "start", "Thermometer", "2", "--stages", "0%:1d,100%:1d")
    assert (status, err) == (1, "server: a stage of 0 % is the canaries' own, and there are none\n")


def test_rollout_that_is_not_there_is_one_line(cli, field):
    status, _, err = cli("rollout", "show", "Thermometer")
    assert (status, err) == (1, "server: Thermometer has no rollout yet\n")


def test_member_that_was_told_is_written_down_once(field):
    rollout = field.server.vendor.start_rollout(field.template["id"], field.next["id"], canaries=["S1"])
    assert [targets(field) for _ in range(3)] == [["2", "1"]] * 3
    told = field.server.vendor.rollout_members(rollout["id"], "open")
    assert [each["serialNumber"] for each in told] == ["S1"]
    field.devices[0].call("PUT", f"/versions/{field.next['id']}.json")
    assert field.server.vendor.rollout(rollout["id"])["confirmed"] == 1
    assert field.server.vendor.rollout_members(rollout["id"], "open") == []


def test_target_stays_as_it_is_while_a_rollout_decides(field):
    field.server.vendor.start_rollout(field.template["id"], field.next["id"], canaries=["S1"])
    with pytest.raises(VendorError, match="cancel it first") as refused:
        field.server.vendor.set_target(field.template["id"], field.next["id"])
    assert refused.value.status == 409


def test_version_of_a_rollout_is_not_removed(field):
    field.server.vendor.start_rollout(field.template["id"], field.next["id"], canaries=["S1"])
    with pytest.raises(VendorError, match="belongs to a rollout"):
        field.server.vendor.remove_version(field.template["id"], field.next["id"])


def test_device_key_starts_and_stops_nothing(field):
    rollout = field.server.vendor.start_rollout(field.template["id"], field.next["id"], canaries=["S1"])
    headers = {"X-ApiKey": field.devices[0].api_key}
    for method, path in (
        ("GET", "/v1/rollouts.json"),
        ("PUT", f"/v1/rollouts/{rollout['id']}/cancel.json"),
        ("POST", f"/v1/templates/{field.template['id']}/rollouts.json"),
    ):
        answer = HTTP.request(method, field.server.url + path, headers=headers, content="{}")
        assert_error(answer, 401, "GK-000-0001")
    assert field.server.vendor.rollout(rollout["id"])["state"] == "running"


def test_rollout_that_does_not_exist_is_404(field):
    for call in (field.server.vendor.rollout, field.server.vendor.pause_rollout, field.server.vendor.resume_rollout):
        for rollout_id in ("0" * 32, "nothing"):
            with pytest.raises(VendorError) as refused:
                call(rollout_id)
            assert refused.value.status == 404
