"""A browser for the tests of pages."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.kit.browser import PROGRAM, Browser


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if PROGRAM is None or os.name != "posix":
        pytest.skip("no chromium, chromium-browser or google-chrome on the PATH, or no pipes to speak to it")
    with Browser(tmp_path_factory.mktemp("browser")) as started:
        yield started
