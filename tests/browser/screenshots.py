"""Pictures of every view for the documentation, of a lab that holds a finished study and a finished training.

python -m tests.browser.screenshots --url http://127.0.0.1:8321 --to docs/images/page
"""

import argparse
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from bfc_client import Client
from tests.browser.conftest import FLAGS, chromium

WIDE, NARROW = {"width": 1280, "height": 860}, {"width": 380, "height": 780}
SETTLE_MS = 4000


def views(lab: Client) -> dict[str, tuple[str, str, bool]]:
    """Name → (place, theme, narrow)."""
    study = next(lab.jobs(kind="study", state="succeeded", most=1))
    train = next(lab.jobs(kind="train", state="succeeded", parent="none", most=1))
    first, second = [member.id for member in lab.children(study, most=2)]
    features = [one.id for one in lab.snapshots(train) if one.kind == "features"]
    at = f"/jobs/{study.id}"
    return {
        "jobs": ("/jobs", "light", False),
        "study": (at, "light", False),
        "study-dark": (at, "dark", False),
        "study-narrow": (at, "light", True),
        "members": (f"{at}/members", "light", False),
        "curves": (f"{at}/curves", "light", False),
        "figures": (f"{at}/figures", "light", False),
        "tables": (f"{at}/tables", "light", False),
        "job": (f"/jobs/{train.id}", "light", False),
        "job-narrow": (f"/jobs/{train.id}", "dark", True),
        "audit": (f"/jobs/{train.id}/audit", "light", False),
        "form": ("/new?kind=study", "light", False),
        "compare": (f"/compare?a={first}&b={second}", "light", False),
        "snapshots": (f"/compare?sa={features[0]}&sb={features[-1]}", "light", False),
        "catalog": ("/catalog", "light", False),
        "workers": ("/workers", "light", False),
    }


def take(page: Page, place: str, theme: str, target: Path) -> None:
    page.evaluate("theme => { document.documentElement.dataset.theme = theme }", theme)
    page.evaluate("place => { location.hash = place }", place)
    page.wait_for_timeout(SETTLE_MS)
    page.wait_for_function("() => !document.body.innerText.includes('Drawing…')", timeout=60_000)
    page.screenshot(path=target)


def main() -> None:
    parser = argparse.ArgumentParser(description="Take pictures of every view of the page.")
    parser.add_argument("--url", default=None)
    parser.add_argument("--to", type=Path, default=Path("docs/images/page"))
    given = parser.parse_args()
    given.to.mkdir(parents=True, exist_ok=True)
    with Client(given.url) as lab, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        for name, (place, theme, narrow) in views(lab).items():
            page = browser.new_page(viewport=NARROW if narrow else WIDE)  # type: ignore[arg-type]
            page.goto(lab.url)
            take(page, place, theme, given.to / f"{name}.png")
            page.context.close()
            print(name)
        browser.close()


if __name__ == "__main__":
    main()
