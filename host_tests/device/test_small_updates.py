"""Small updates end to end: what travels is what changed, from the real server, over real sockets."""

import re
import time

import pytest

from host_tests.fakes.home import IMAGES, Home

ON_BOTH = [pytest.param("vm", marks=pytest.mark.vm), "cpython"]
PATCHED = re.compile(r"comes as a patch of (\d+) bytes for (\d+)")
COMPRESSED = re.compile(r"comes compressed, (\d+) bytes for (\d+)")


def wait_until_made(home: Home, name: str) -> list[dict]:
    """Wait for all patches for this version; what is downloaded."""
    deadline_s = time.monotonic() + 60
    while True:
        found = home.server.vendor.downloads(home.template_id, home.versions[name])
        if all(each["ready"] for each in found):
            return found
        assert time.monotonic() < deadline_s, found
        time.sleep(0.1)


@pytest.fixture
def make_home(tmp_path):
    made = []

    def make(runtime, **config) -> Home:
        made.append(Home(tmp_path, runtime, patch_bases=4, **config))
        return made[0]

    yield make
    for home in made:
        home.close_server()


@pytest.mark.parametrize("runtime", ON_BOTH)
def test_update_as_a_patch_for_what_the_thing_runs(make_home, runtime):
    home = make_home(runtime)
    home.set_target("1")
    home.power_on()
    home.check_in_step("1", "ota_1")
    downloads = wait_until_made(home, "3")
    home.set_target("3")
    console = home.power_on()
    patch_bytes, size_bytes = map(int, PATCHED.search(console).groups())
    assert size_bytes == len(IMAGES["3"])
    assert {"runs": "1", "things": 1, "sizeBytes": patch_bytes, "ready": True} in downloads
    home.check_in_step("3", "ota_0")


@pytest.mark.parametrize("runtime", ON_BOTH)
def test_update_compressed_for_a_board_whose_release_the_server_does_not_know(make_home, runtime):
    home = make_home(runtime)
    home.set_target("3")
    downloads = wait_until_made(home, "3")
    console = home.power_on()
    patch_bytes, size_bytes = map(int, COMPRESSED.search(console).groups())
    assert [each["sizeBytes"] for each in downloads] == [patch_bytes] and size_bytes == len(IMAGES["3"])
    home.check_in_step("3", "ota_1")


@pytest.mark.vm
@pytest.mark.parametrize("operation", [60, 120])
def test_power_cut_in_a_patch_goes_on_where_it_was(make_home, operation):
    home = make_home("vm")
    home.set_target("1")
    home.power_on()
    wait_until_made(home, "3")
    home.set_target("3")
    result = home.twin(cut=(1, operation, "torn")).power_on(until=lambda console: "confirmed" in console, timeout_s=60)
    assert "-- power cut:" in result.console, result.console
    before, _, after = result.console.partition("-- power cut:")
    assert "comes as a patch" in before and re.search(r"goes on at byte \d+", after), result.console
    home.power_on()
    home.check_in_step("3", "ota_0")


@pytest.mark.parametrize("runtime", ON_BOTH)
def test_patch_damaged_at_the_server_is_followed_by_the_whole(make_home, tmp_path, runtime):
    home = make_home(runtime)
    home.set_target("1")
    home.power_on()
    wait_until_made(home, "3")
    for path in (tmp_path / "server" / "patches").glob("*-*"):
        if not path.stat().st_size:
            continue
        content = bytearray(path.read_bytes())
        content[int.from_bytes(content[80:84], "little")] = 0xFF  # no deflate begins like this
        path.write_bytes(content)
    home.set_target("3")
    console = home.power_on()
    assert "taking the whole firmware instead" in console
    home.check_in_step("3", "ota_0")
