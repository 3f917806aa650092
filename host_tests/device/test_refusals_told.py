"""What a device refuses, its vendor knows in the same round: a rollout that nobody can take goes on for no hour."""

import pytest

from host_tests.fakes.home import SERIAL, Home

ON_BOTH = [pytest.param("vm", marks=pytest.mark.vm), "cpython"]


@pytest.mark.parametrize("runtime", ON_BOTH)
def test_refusal_is_at_the_server_in_the_round_that_found_it(tmp_path, runtime):
    with Home(tmp_path, runtime, signing_keys=["0" * 64]) as home:
        for name in ("2", "3"):  # as the target, and by a rollout
            console = home.power_on(until=lambda console: console.count("C reported") == 1)
            assert "[no_signature]; the thermometer runs, next try in" in console
            assert console.count("[1/5]") == 1, "it has not waited for another round"
            told = home.thing()["properties"]["status"]
            assert (told["phase"], told["versionId"], told["code"]) == ("given up", home.versions[name], "no_signature")
            if name == "2":
                plan = {"canaries": [SERIAL], "stages": [{"percent": 100, "durationS": 3600}]}
                rollout = home.server.vendor.start_rollout(home.template_id, home.versions["3"], **plan)
        assert home.server.vendor.rollout(rollout["id"])["failed"] == 1
