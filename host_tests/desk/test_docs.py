"""The pages for people, held against what the device and the Makefile really have."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
WRONG = (ROOT / "docs" / "when-something-is-wrong.md").read_text()
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
_SETTINGS = """
import json, sys
sys.path[:0] = ["device", "tools/twin/chip"]
from agent import settings
print(json.dumps([(each.name, each.default, each.name in settings.RELEASE_SETTINGS) for each in settings.table()]))
"""
ONLY_IN_STATUS = {
    "rolled_back",
    "interrupted",
    "never_started",
    "keeps_crashing",
}  # of the record, never said on the console


def codes():
    lines = (ROOT / "device" / "agent" / "errors.txt").read_text().splitlines()
    return {line.split()[0] for line in lines}


def test_every_code_of_the_device_has_its_remedy_and_none_is_made_up():
    rows = [line for line in WRONG.splitlines() if line.startswith("| `[")]
    named = [code for row in rows for code in re.findall(r"`\[([a-z0-9_]+)\]`", row.split("|")[1])]
    assert sorted(named) == sorted(codes() | ONLY_IN_STATUS)
    assert all(cell.strip() for row in rows for cell in row.strip("|").split("|"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_and_pictures_lead_somewhere(page):
    for target in re.findall(r"\]\((?!https?://)([^)]+)\)", page.read_text()):
        path, _, anchor = target.partition("#")
        assert not path or (page.parent / path).exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", (page.parent / path if path else page).read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}, target


def test_page_of_the_settings_is_the_table_in_the_code():
    """Name, default and whether a release may replace it."""
    rows = re.findall(r"^\| `(\w+)` \| `(.+?)` \|.*\| (yes)? ?\|$", (ROOT / "docs" / "settings.md").read_text(), re.M)
    shown = [(name, json.loads(default), bool(may)) for name, default, may in rows]
    command = [sys.executable, "-c", _SETTINGS]
    assert shown == [tuple(row) for row in json.loads(subprocess.check_output(command, cwd=ROOT))]


def targets() -> list[str]:
    """What the pages have people call make for."""
    return sorted({name for page in PAGES for name in re.findall(r"(?:^ {4}|`)make ([a-z-]+)", page.read_text(), re.M)})


@pytest.mark.parametrize("name", targets())
def test_make_knows_what_the_pages_have_people_call(name):
    done = subprocess.run(["make", "--dry-run", name], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
