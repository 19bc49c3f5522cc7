"""How soon the page shows something, and that it asks for no more than it shows; `bench/page.py` prints the times.

A test does not judge the times: whatever else the machine does would decide it.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, Response, expect

from tests.browser.paper_worker import STUDY, PaperWorker
from tests.site import Site

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]
TRIES = 3
POINTS = 1_000_000
HUNDRED = {"kind": "study", "spec": {"kind": "information_gap", "seeds": 34, "base": STUDY["spec"]["base"]}}  # type: ignore[index]
DRAWN_MOST = 1_000_000  # bytes of points that a screen of curves may take


def told(what: str, milliseconds: list[float]) -> None:
    """A line for the bench: the median and every try."""
    middle = sorted(milliseconds)[len(milliseconds) // 2]
    print(f"{what:<58} {middle:6.0f} ms   (of {', '.join(f'{one:.0f}' for one in milliseconds)})")


def test_the_first_useful_paint(open_page: Callable[..., Page], site: Site) -> None:
    """Text on the screen, and then the list of jobs, in a browser without history."""
    paints, lists = [], []
    for _ in range(TRIES):
        page = open_page()
        page.goto(site.url)
        page.locator(".jobs tbody tr[data-id], main .empty").first.wait_for()
        lists.append(float(page.evaluate("performance.now()")))
        paints.append(
            float(page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime"))
        )
    told("first contentful paint", paints)
    told("the list of jobs is there", lists)


@pytest.mark.skipif("BFC_BENCH" not in os.environ, reason="a million points take a while: bench/page.py")
def test_a_study_of_a_hundred_members_and_a_million_points(
    open_page: Callable[..., Page], site: Site, worker: PaperWorker
) -> None:
    study = worker.submit_study("a hundred members", HUNDRED)
    assert worker.run_members(study, points=POINTS // 100) >= 100
    opened, curves, sizes = [], [], list[int]()

    def weigh(reply: Response) -> None:
        if "/metrics" in reply.url:
            sizes.append(len(reply.body()))

    for _ in range(TRIES):
        page = open_page()
        page.on("response", weigh)
        begun = time.monotonic()
        page.goto(f"{site.url}/#/jobs/{study}")
        expect(page.locator(".members .cell.is-succeeded").nth(99)).to_be_visible()
        opened.append(1000 * (time.monotonic() - begun))
        assert sizes == []  # a grid needs no points
        begun = time.monotonic()
        page.goto(f"{site.url}/#/jobs/{study}/curves")
        expect(page.locator(".chart canvas")).to_be_visible()
        curves.append(1000 * (time.monotonic() - begun))
        assert 0 < sum(sizes) < DRAWN_MOST, json.dumps(sizes)
        page.context.close()
        sizes.clear()
    told("a study of 102 members, 1,020,000 points: all marks shown", opened)
    told("its curves drawn", curves)
