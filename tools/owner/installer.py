"""`make installer`: a folder of static files that flash a board and ask for its WiFi, in one tab of Chrome or Edge.

The page is ESP Web Tools, which people know from ESPHome and WLED; npm brings it in. It writes a factory image, which
is one board's: its serial number and its secrets are in it.
"""

import argparse
import html
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tools import factory, release
from tools.arguments import failed, file_name, shown
from tools.twin.paths import ROOT

NPM = ROOT / "build" / "npm"
"""Where npm puts what tools/owner/npm/package-lock.json pins."""

_PINS = Path(__file__).parent / "npm"
_IMAGE = "thermometer.bin"
_IMPROV_WAIT_S = 20  # from the reset after the flashing until the board's setup answers

_PAGE = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<script type="module" src="esp-web-tools/install-button.js"></script>
<style>
:root {{ color-scheme: light dark }}
body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 36rem; margin: 2rem auto; padding: 0 1rem }}
</style>
<main>
<h1>{title}</h1>
<p>Connect the board with a USB cable, choose its port, and install. When that is done, the same window asks for your
WiFi. Everything that was on the board is replaced.</p>
<esp-web-install-button manifest="manifest.json">
<p slot="unsupported">This browser cannot reach a USB port: open the page in Chrome or Edge on a computer.</p>
<p slot="not-allowed">This page must come over https, or from this computer itself (localhost).</p>
</esp-web-install-button>
</main>
</html>
"""


class InstallerError(Exception):
    """The page cannot be made; the text says why and what to do."""


def main(arguments: list[str] | None = None) -> int:
    """Make the page. 0: done, 1: it failed, 2: wrong arguments; both with one line on standard error."""
    options = _parse(arguments)
    try:
        make(options.image, options.out, web_tools)
    except (InstallerError, factory.FactoryError, OSError) as error:
        return failed("installer", error, 1)
    print(f"the page is in {options.out}; it holds the board's secrets, as {options.image} does")
    print(f"next: {sys.executable} -m http.server --bind 127.0.0.1 --directory {options.out} 8000")
    print("      and open http://localhost:8000 in Chrome or Edge")
    return 0


def make(image: Path, out: Path, tools: Callable[[], Path]) -> None:
    """Write the page for this factory image into the folder `out`, with ESP Web Tools from the folder that `tools`
    gives, asked once the image is known to be one. InstallerError when it is none, or there are no tools."""
    content = image.read_bytes()
    try:
        files = factory.read_files(content)
        serial = files["/serial.txt"].decode().strip()
        found = factory.first_release(content, str(image))
    except (factory.FactoryError, KeyError, ValueError, release.ReleaseError) as error:
        raise InstallerError(f"{image} is no image of make factory ({error})") from error
    manifest = {
        "name": f"{found.product} {serial}",
        "version": str(found.number),
        "new_install_prompt_erase": False,
        "new_install_improv_wait_time": _IMPROV_WAIT_S,
        "builds": [{"chipFamily": "ESP32", "parts": [{"path": _IMAGE, "offset": 0}]}],
    }
    folder = tools()
    out.mkdir(parents=True, exist_ok=True)
    shutil.copytree(folder, out / "esp-web-tools", dirs_exist_ok=True)
    (out / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")
    (out / "index.html").write_text(_PAGE.format(title=html.escape(f"{found.product} {serial}")))
    target = out / _IMAGE
    target.touch(mode=0o600)
    target.write_bytes(content)


def web_tools() -> Path:
    """The folder with ESP Web Tools; npm brings it in, once. InstallerError when it cannot."""
    found = NPM / "node_modules" / "esp-web-tools" / "dist" / "web"
    pinned = (_PINS / "package-lock.json").read_bytes()
    if found.exists() and (NPM / "package-lock.json").read_bytes() == pinned:
        return found
    npm = shutil.which("npm")
    if not npm:
        raise InstallerError("npm is not installed, and brings in ESP Web Tools: apt-get install npm, or nodejs.org")
    NPM.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "package-lock.json"):
        shutil.copy(_PINS / name, NPM / name)
    print("fetching ESP Web Tools (once)", flush=True)
    done = subprocess.run([npm, "ci", "--no-audit", "--no-fund"], cwd=NPM, capture_output=True, text=True)
    if done.returncode:
        (NPM / "package-lock.json").unlink()
        raise InstallerError(f"npm cannot bring in ESP Web Tools: {done.stderr.strip()[-300:]}")
    return found


class _Parser(argparse.ArgumentParser):
    def error(self, message: str):
        self.exit(failed("installer", message, 2))


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = _Parser(prog="thermometer installer", description=__doc__, allow_abbrev=False)
    parser.add_argument("--image", required=True, type=_image, help="what make factory has made")
    parser.add_argument("--out", required=True, type=_folder, help="the folder for the page")
    return parser.parse_args(arguments)


def _image(text: str) -> Path:
    if not text or not file_name(text).is_file():
        raise argparse.ArgumentTypeError(f"{shown(text)!r}: no such file (IMAGE=...)")
    return Path(text)


def _folder(text: str) -> Path:
    if not text or file_name(text).is_file():
        raise argparse.ArgumentTypeError(f"{shown(text)!r} is no name for a folder (OUT=...)")
    return Path(text)


if __name__ == "__main__":
    sys.exit(main())
