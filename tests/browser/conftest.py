"""The page in Debian's Chromium, served by a real API process; a worker on paper moves its jobs."""

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from store import keys
from store.config import Config
from store.engine import connect
from tests.browser.paper_worker import PaperWorker
from tests.site import Site, own_site

FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--no-first-run",
]  # fmt: skip
PATIENCE_MS = 15_000


def chromium() -> str | None:
    """The browser's path: BFC_CHROMIUM, else the one on the PATH."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return os.environ.get("BFC_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)


@pytest.fixture(scope="session")
def site(template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One lab for all tests of the page; each test looks only at what it made. No worker on paper is taken for dead."""
    with own_site(template, tmp_path_factory.mktemp("site"), BFC_HEARTBEAT_SECONDS="3600") as made:
        yield made


@pytest.fixture(scope="session")
def worker(site: Site) -> Iterator[PaperWorker]:
    """Whoever moves the jobs of the site."""
    engine = connect(Config(database_url=site.database_url))
    with engine.begin() as connection:
        project = keys.project(connection)
    yield PaperWorker(engine, project)
    engine.dispose()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    path = chromium()
    if path is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium, or set BFC_CHROMIUM")
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield opened
        opened.close()


@dataclass
class Console:
    """What the browser complained about."""

    lines: list[str] = field(default_factory=list)

    def hear(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.lines.append(f"{message.type}: {message.text}")

    def forget(self, *expected: str) -> None:
        """Takes away complaints that the test provoked; each must be there."""
        for words in expected:
            assert any(words in line for line in self.lines), (words, self.lines)
        self.lines = [line for line in self.lines if not any(words in line for words in expected)]


@pytest.fixture
def console() -> Console:
    return Console()


@pytest.fixture
def open_page(browser: Browser, console: Console) -> Iterator[Callable[..., Page]]:
    """Opens tabs of a browser without history; the console must be empty at the end."""
    tabs: list[Page] = []

    def open_(width: int = 1280, theme: str = "light") -> Page:
        page = browser.new_page(
            viewport={"width": width, "height": 800},
            color_scheme="dark" if theme == "dark" else "light",
        )
        page.set_default_timeout(PATIENCE_MS)
        page.on("console", console.hear)
        page.on("pageerror", lambda fault: console.lines.append(f"error: {fault}"))
        tabs.append(page)
        return page

    yield open_
    for page in tabs:
        if not page.is_closed():
            page.context.close()
    assert console.lines == []


@pytest.fixture
def page(open_page: Callable[..., Page]) -> Page:
    return open_page()
