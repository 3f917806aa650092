"""The repository as a package for `mip`, MicroPython's package installer."""

import json

from tools.agent import DEVICE, ROOT, source_files

PACKAGE = ROOT / "package.json"


def package() -> str:
    """The text of package.json: where each of the agent's files lies here, relative to package.json itself."""
    urls = []
    for path in source_files():
        local = ROOT / path[1:] if path == "/boot.py" else DEVICE / path[1:]
        urls.append([path[1:], local.relative_to(ROOT).as_posix()])
    return json.dumps({"urls": urls, "version": "0.1.0"}, indent=2) + "\n"
