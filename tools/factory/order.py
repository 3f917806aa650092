"""An order: all that the thermometers of one run have in common, checked as a whole before the first is made."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from tools import agent, espressif, release
from tools.factory import personal, settings
from tools.factory.errors import FactoryError
from tools.factory.image import BLOCK_BYTES, Parts, assemble, read_parts, used_bytes
from tools.factory.layout import FLASH_SIZES, layout, place
from tools.factory.personal import Secrets

SPARE_BYTES = 16 * 1024
"""What must stay free in the file system, for the agent's record and littlefs's own copies."""


@dataclass(frozen=True)
class Order:
    """Firmware, agent and settings. `image(serial, secrets)` makes one thermometer's flash image."""

    parts: Parts
    config: dict
    files: dict[str, bytes]
    flash_bytes: int
    notes: list[str] = field(default_factory=list)
    app: Path | None = None
    """Folder with the product's code, in place of the thermometer's."""

    @property
    def product(self) -> str:
        """Whose releases the boards take, and by which they name their setup network."""
        return self.config["product"]

    def require_no_secrets(self) -> None:
        """FactoryError when the settings give all boards the same secret."""
        shared = [name for name in (personal.SETUP_PASSWORD, personal.DEVICE_SECRET) if self.config.get(name)]
        if shared:
            raise FactoryError(f"CONFIG gives every board the same {shared[0]}: leave it out, each gets its own")

    def secrets(self, path: Path, serial: str) -> Secrets:
        """The secrets of the board with this serial number: those of the settings, of the image that lies at `path`
        from before, or new ones."""
        found = personal.kept_secrets(path, serial) or personal.new_secrets()
        return Secrets(
            self.config.get(personal.SETUP_PASSWORD) or found.setup_password,
            self.config.get(personal.DEVICE_SECRET) or found.device_secret,
        )

    def image(self, serial: str, secrets: Secrets) -> bytes:
        """The flash image of the thermometer with this serial number."""
        own = settings.own_files(serial, **{**self.config, **secrets.settings})
        return assemble(self.parts, {**self.files, **own}, self.flash_bytes)


def make_order(
    firmware: Path,
    server: str,
    wifi: tuple[str, str] | None,
    bootloader: Path | None = None,
    ca: Path | None = None,
    signing_key: Path | None = None,
    version_id: str | None = None,
    config: Path | None = None,
    flash_size: str = "4MB",
    number: int = 1,
    allow_localhost: bool = False,
    app: Path | None = None,
) -> Order:
    """Read and check all of it; the boards leave with the release of this `number`, of the product code in the folder
    `app` (default: the thermometer). FactoryError for the first thing that cannot be; nothing has been written then."""
    if not allow_localhost:
        settings.check_reachable(server)
    if server.startswith("https://") and not ca:
        raise FactoryError(
            f"{server} needs its CA's certificate, CA=….pem: without it the board cannot tell the server from others"
        )
    notes = []
    flash_bytes = _flash_bytes(flash_size)
    parts = read_parts(firmware, bootloader)
    slot = place("ota_0", layout(flash_bytes))
    if len(parts.app) > slot.size:
        raise FactoryError(
            f"{firmware}: the app is {len(parts.app)} bytes long, a slot of a {flash_size} flash only {slot.size}"
        )
    try:
        digest = espressif.key_digest(signing_key) if signing_key else None
        base = settings.read_config(config) if config else {}
        merged = settings.make_config(server, wifi, base, ca is not None, digest)
        contents = release.Contents(number, merged["product"], app=app)
        parts = replace(parts, app=release.make_release(parts.app, contents))
    except (espressif.ImageError, release.ProductCodeError) as error:
        raise FactoryError(str(error)) from error
    except (agent.AgentFilesError, release.ReleaseError) as error:
        raise FactoryError(f"{firmware}: {error}") from error
    if len(parts.app) > slot.size:
        raise FactoryError(
            f"the release is {len(parts.app)} bytes long, a slot of a {flash_size} flash only {slot.size}"
        )
    files = agent.board_files()
    if ca:
        files[settings.CA_PATH] = settings.read_ca(ca)
        if server.startswith("http://"):
            notes.append("CA is of no use with a server address that begins with http://")
    elif base.get("ca"):
        raise FactoryError(f"{config} names certificates on the board ({base['ca']}), but gives none: CA=….pem")
    if version_id:
        files |= settings.state_file(version_id, parts.fingerprint)
    order = Order(parts, merged, files, flash_bytes, notes, app)
    vfs = place("vfs", layout(flash_bytes))
    free_bytes = vfs.size - used_bytes(
        order.image("A" * 64, personal.new_secrets())[vfs.address : vfs.address + vfs.size]
    )
    if free_bytes < SPARE_BYTES:
        raise FactoryError(f"the files leave {free_bytes // BLOCK_BYTES} blocks of the file system free: too few")
    return order


def _flash_bytes(size: str) -> int:
    try:
        return FLASH_SIZES[size]
    except KeyError:
        if size in ("1MB", "2MB"):
            layout(int(size[0]) << 20)  # says why
        raise FactoryError(f"there is no flash of {size!r}: one of {', '.join(FLASH_SIZES)}") from None
