"""A real headless browser for the tests of pages."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import pytest

CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@contextmanager
def browser() -> Iterator[Any]:
    """A headless Chromium, driven by playwright; the test is skipped where either is missing."""
    found = next((path for name in CHROMIUM if (path := shutil.which(name))), None)
    if found is None or find_spec("playwright") is None:
        pytest.skip("needs Chromium (.ci/chromium.sh) and playwright (pip install '.[test]')")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=found, chromium_sandbox=os.geteuid() != 0)
        yield opened
        opened.close()
