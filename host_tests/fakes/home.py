"""A home with one thermometer and the vendor's server, for tests of whole lives: small images, everything else real."""

import copy
import shutil
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from host_tests.fakes.records import copy_records
from tools import agent, factory, firmware, server
from tools.proof.releases import small_release
from tools.twin.__main__ import WIFI, is_done
from tools.twin.device import Result, Twin

SERIAL = "THERM00000000000001"
IMAGES = {
    "1": small_release(1, 20000, source=True),
    "2": small_release(2, 30000, source=True),
    "3": small_release(3, 40000, source=True),
}

__all__ = ["IMAGES", "SERIAL", "Home", "is_done"]


def _publish(running: server.Running, images: tuple[tuple[str, bytes], ...]) -> tuple[str, dict[str, str]]:
    """A template with these versions, and a product with the serial number: the template's Id, and the versions'."""
    vendor = running.vendor
    template_id = vendor.create_template("Thermometer")["id"]
    vendor.add_serials(vendor.create_product("Thermometer", template_id)["id"], [SERIAL])
    versions = {}
    with TemporaryDirectory() as folder:
        for name, image in images:
            path = Path(folder) / f"{name}.bin"
            path.write_bytes(image)
            versions[name] = vendor.create_version(template_id, path)["id"]
    return template_id, versions


class Home:
    """A thermometer fresh from the factory with version 1 in ota_0, and a server in `folder` that has versions 1 to 3,
    with 2 as the target (`images`, by default small ones with the real agent);
    with `patch_bases` it makes patches. The board has the factory's `partitions`, or others. Use it as a context
    manager; the server can be ended and started again at its address."""

    def __init__(
        self,
        folder: Path,
        runtime: str,
        patch_bases: int = 0,
        images: dict | None = None,
        partitions: list | None = None,
        **config: object,
    ) -> None:
        self._move_to(folder)
        self.runtime = runtime
        self.world: dict = {}
        self._port = 0
        self._patch_bases = patch_bases
        self.images = images or IMAGES
        published = tuple(self.images.items())
        if patch_bases:  # made as the versions come
            self._open()
            self.template_id, self.versions = _publish(self.server, published)
        else:
            self.template_id, self.versions = copy_records(self.data, _publish, published)
            self._open()
        self.set_target("2")
        own = factory.own_files(SERIAL, self.url, wifi=WIFI, start_spread_s=0, **config)
        files = {**agent.board_files(), **own}
        combined = firmware.combined_image("1.27.0")
        self.flash.write_bytes(factory.flash_image(combined, files, self.images["1"], partitions=partitions))

    def __enter__(self) -> "Home":
        return self

    def __exit__(self, *exception) -> None:
        self.close_server()

    def close_server(self) -> None:
        """End the server; its records stay."""
        if self.server:
            self._running.__exit__(None, None, None)
            self.server = None

    def copy_to(self, folder: Path) -> "Home":
        """The same home in another folder, with its server at the same address; this one's must have ended."""
        other = copy.copy(self)
        other._move_to(folder)
        shutil.copy(self.flash, other.flash)
        shutil.copytree(self.data, other.data)
        other._open()
        return other

    def open_server(self) -> None:
        """Start the server again where it was."""
        self._open()

    def set_target(self, name: str) -> None:
        """Have the vendor make this version the target."""
        self.server.vendor.set_target(self.template_id, self.versions[name])

    def thing(self) -> dict:
        """The thing as the vendor sees it."""
        return self.server.vendor.thing(SERIAL)

    def twin(self, **more) -> Twin:
        """The thermometer."""
        return Twin(self.flash, self.runtime, self.world, **more)

    def power_on(self, until: Callable[[str], bool] = is_done, **limits) -> str:
        """Power on until this is on the console; the console."""
        result = self.twin().power_on(until=until, **{"timeout_s": 60, **limits})
        assert result.reason == "until", result.console
        # A wake from deep sleep starts the same image before otadata is read: a trial would never end.
        assert "-- deep sleep" not in result.console
        return result.console

    def boot(self, count: int = 1) -> Result:
        """Power on for this many boots."""
        return self.twin().power_on(max_boots=count, timeout_s=60)

    def change_files(self, **changes: bytes | None) -> None:
        """Put these files into the root of the board's file system, with _ for the dot in their names; None removes."""
        files = self.twin().files()
        for name, content in changes.items():
            path = "/" + name.replace("_", ".")
            files.pop(path, None)
            if content is not None:
                files[path] = content
        self.write_file_system(files)

    def write_file_system(self, files: dict[str, bytes]) -> None:
        """Replace the board's whole file system."""
        vfs = factory.place("vfs", factory.read_table(self.flash.read_bytes()))
        with self.flash.open("r+b") as flash:
            flash.seek(vfs.address)
            flash.write(factory.file_system(files, vfs.size))

    def check_in_step(self, name: str, slot: str) -> None:
        """Device and server must agree that this version, in this slot, is what runs."""
        thing, state = self.thing(), self.twin().state()
        assert thing["name"] == "ThermometerDevice"
        assert thing["currentVersion"]["id"] == thing["targetVersion"]["id"] == self.versions[name]
        assert state["versionId"] == self.versions[name] and state["slot"] == slot and state["thingId"] == thing["id"]
        assert self.twin().slot_bytes(slot, len(self.images[name])) == self.images[name]
        assert thing["properties"]["temperature"] == 21.5

    def _move_to(self, folder: Path) -> None:
        self.flash = folder / "flash.bin"
        self.data = folder / "server"

    def _open(self) -> None:
        self._running = server.running(self.data, port=self._port, patch_bases=self._patch_bases)
        self.server = self._running.__enter__()
        self.url = self.server.url
        self._port = int(self.url.rpartition(":")[2])
