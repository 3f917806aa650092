"""A real browser, for the pages of the server and of the board's setup."""

from pathlib import Path

import pytest

from host_tests.desk.server import postgres

_CHROMIUM = Path("/usr/bin/chromium")


@pytest.fixture(scope="module")
def browser():
    """Debian's Chromium."""
    from playwright.sync_api import sync_playwright  # not for the many tests without a browser

    postgres.require("chromium", _CHROMIUM.exists())
    with sync_playwright() as playwright:
        # Root, as on CI, has no sandbox; the pages are our own.
        launched = playwright.chromium.launch(executable_path=_CHROMIUM, args=["--no-sandbox"])
        yield launched
        launched.close()
