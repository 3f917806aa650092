"""The repository as a package for `mip`, MicroPython's package installer."""

import json
import tomllib

from tools.agent import DEVICE, MAIN, RELEASE, ROOT, source_files

PACKAGE = ROOT / "package.json"


def package() -> str:
    """Return the text of package.json: where each of the agent's files lies here, relative to package.json itself."""
    places = {"/boot.py": ROOT / "boot.py", "/main.py": MAIN}
    places.update({f"{RELEASE}{path}": DEVICE / path[1:] for path in source_files()})
    urls = [[path[1:], local.relative_to(ROOT).as_posix()] for path, local in places.items()]
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    return json.dumps({"urls": urls, "version": version}, indent=2) + "\n"
