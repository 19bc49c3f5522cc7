"""What holds on every view: no serious fault of accessibility, nothing wider than the screen, nothing slow."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, Request, expect
from sqlalchemy import text

from tests.browser.conftest import Console
from tests.browser.paper_worker import PaperWorker
from tests.site import Site

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]
AXE = (Path(__file__).parent / "vendor" / "axe.min.js").read_text(encoding="utf-8")
# Run as script of the test's own, past the page's content policy.
JUDGE = """rules => axe.run(document, {resultTypes: ["violations"], ...rules}).then(found => found.violations
    .filter(one => ["serious", "critical"].includes(one.impact))
    .map(one => `${one.id}: ${one.nodes.slice(0, 3).map(node => node.html.slice(0, 160)).join(" | ")}`))"""
# In the dark only the colours are others, and these views show all of them.
RULES: dict[str, Any] = {"light": {}, "dark": {"runOnly": ["color-contrast"]}}
DARK = ("jobs", "study", "running", "job", "tables", "spec", "train", "compare")
MANY = 10_000
POINTS = 1_000_000


@pytest.fixture(scope="module")
def places(worker: PaperWorker) -> dict[str, str]:
    """Every view of the page, with something in it."""
    study = worker.submit_study("a study to look at")
    worker.run_members(study)
    worker.conclude(study)
    running = worker.submit_study("a study at work")
    worker.run_members(running, most=1)
    first, second = worker.done("looked at", seed=1), worker.done("looked at too", seed=2)
    job = {tab: f"/jobs/{first}/{tab}" for tab in ("curves", "figures", "snapshots", "why", "audit", "spec")}
    others = {name: f"/{name}" for name in ("jobs", "catalog", "datasets", "workers", "keys")}
    return {
        **others, **job, "job": f"/jobs/{first}", "study": f"/jobs/{study}", "running": f"/jobs/{running}",
        "tables": f"/jobs/{study}/tables", "new": "/new?kind=study", "train": "/new?kind=train",
        "compare": f"/compare?a={first}&b={second}",
    }  # fmt: skip


def settle(page: Page) -> None:
    page.locator("main h1").first.wait_for()
    expect(page.locator("main .loading")).to_have_count(0)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_no_serious_fault(
    open_page: Callable[..., Page], site: Site, places: dict[str, str], theme: str
) -> None:
    page = open_page(theme=theme)
    page.goto(site.url)
    page.evaluate(AXE)
    faults: dict[str, list[str]] = {}
    for name in DARK if theme == "dark" else places:
        page.evaluate("place => { location.hash = place }", places[name])
        settle(page)
        if name in ("new", "train"):
            page.evaluate("document.querySelectorAll('details.part').forEach(part => { part.open = true })")
        if found := page.evaluate(JUDGE, RULES[theme]):
            faults[name] = found
    assert faults == {}


def test_nothing_is_wider_than_the_screen(page: Page, site: Site, places: dict[str, str]) -> None:
    page.goto(site.url)
    wide = {}
    for name, place in places.items():
        page.evaluate("place => { location.hash = place }", place)
        settle(page)
        for width in (1000, 380):
            page.set_viewport_size({"width": width, "height": 800})
            needed = page.evaluate("document.querySelector('main').scrollWidth")
            if needed > width:
                wide[name, width] = needed
    assert wide == {}


@pytest.mark.parametrize("width", [1000, 380])
def test_a_figure_takes_the_width_there_is(
    open_page: Callable[..., Page], site: Site, places: dict[str, str], width: int
) -> None:
    page = open_page(width)
    page.goto(f"{site.url}/#{places['study']}/figures")
    plot = page.locator("[data-figure='claims'] .plot[data-drawn]")
    expect(plot.locator("canvas")).to_be_visible()
    assert plot.evaluate("plot => plot.scrollWidth - plot.clientWidth") <= 2
    words = page.locator("[data-figure='claims'] .told")  # what Vega would write on one line, and cut
    expect(words).to_contain_text("median")
    assert words.evaluate("told => told.scrollWidth - told.clientWidth") <= 0


def test_a_legend_of_many_words_is_not_cut_at_the_edge(page: Page, site: Site, places: dict[str, str]) -> None:
    words = [f"{n} levels trained before the others" for n in range(7)]
    legend = {"orient": "bottom", "direction": "horizontal", "columns": 7, "title": None}
    colour = {"field": "w", "type": "nominal", "scale": {"domain": words}, "legend": legend}
    panel = {
        "width": 410,
        "layer": [{"mark": "point", "encoding": {"x": {"field": "n", "type": "quantitative"}, "color": colour}}],
    }
    drawn = {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "data": {"values": [{"w": word, "n": n} for n, word in enumerate(words)]},
        "vconcat": [{"hconcat": [panel, panel]}],
    }
    page.set_viewport_size({"width": 1000, "height": 900})
    page.route("**/figures/claims?*", lambda route: route.fulfill(json=drawn))
    page.goto(f"{site.url}/#{places['study']}/figures")
    plot = page.locator("[data-figure='claims'] .plot[data-drawn]")
    expect(plot).to_be_visible()
    wide, given = plot.evaluate("plot => [plot.scrollWidth, plot.clientWidth]")
    assert wide <= given


def test_ten_thousand_jobs_are_drawn_a_screen_at_a_time(page: Page, site: Site, worker: PaperWorker) -> None:
    one = worker.train("one of many", seed=1)
    with worker.engine.begin() as connection:
        columns = [
            row.column_name
            for row in connection.execute(
                text(
                    "SELECT column_name FROM information_schema.columns WHERE table_name = 'jobs' "
                    "AND table_schema = current_schema() AND is_generated = 'NEVER' ORDER BY ordinal_position"
                )
            )
        ]
        taken = ", ".join(
            "'job_00many' || lpad(n::text, 16, '0')" if name == "id" else name for name in columns
        )
        connection.execute(
            text(
                f"INSERT INTO jobs ({', '.join(columns)}) SELECT {taken} "
                f"FROM jobs, generate_series(1, {MANY}) AS n WHERE jobs.id = :one"
            ),
            {"one": one},
        )
    asked: list[Request] = []
    page.on("request", lambda request: asked.append(request))
    page.goto(f"{site.url}/#/jobs?name=one+of+many")
    rows = page.locator(".jobs tbody tr[data-id]")
    expect(rows.first).to_be_visible()
    assert sum("/v1/jobs?" in request.url for request in asked) <= 2
    grid = page.get_by_role("region", name="Jobs")
    for _ in range(12):
        grid.evaluate("grid => { grid.scrollTop = grid.scrollHeight }")
        page.wait_for_timeout(120)
        assert rows.count() < 80
    assert sum("/v1/jobs?" in request.url for request in asked) <= 16
    page.set_viewport_size({"width": 380, "height": 800})
    expect(grid.locator("th.kind")).to_be_hidden()
    assert grid.locator("th.name").evaluate("th => th.offsetWidth") > 100, "what is out of sight takes no columns"
    with worker.engine.begin() as connection:
        connection.execute(text("DELETE FROM jobs WHERE name = 'one of many'"))


def test_a_million_points_open_at_once_and_no_more_is_asked_than_shown(
    page: Page, site: Site, worker: PaperWorker
) -> None:
    claimed = worker.start(worker.train("a million points", seed=12))
    worker.curve(claimed, POINTS)
    worker.finish(claimed)
    sizes: list[int] = []
    page.on("response", lambda reply: "/metrics" in reply.url and sizes.append(len(reply.body())))
    page.goto(site.url)
    settle(page)
    page.evaluate("place => { location.hash = place }", f"/jobs/{claimed.id}")
    expect(page.get_by_role("region", name="train loss")).to_be_visible()
    assert int(page.evaluate("document.querySelector('[data-points]').dataset.points")) <= 4000
    assert sum(sizes) < 300_000


def test_a_curve_is_zoomed_by_asking_for_its_part(page: Page, site: Site, worker: PaperWorker) -> None:
    job = worker.done("zoomed", seed=13)
    asked: list[str] = []
    page.on("request", lambda request: "/metrics" in request.url and asked.append(request.url))
    page.goto(f"{site.url}/#/jobs/{job}")
    plot = page.get_by_role("region", name="train loss").locator(".canvas")
    box = plot.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 200, box["y"] + 100)
    page.mouse.down()
    page.mouse.move(box["x"] + 400, box["y"] + 110, steps=4)
    page.mouse.up()
    expect(page.get_by_role("button", name="Show all steps")).to_be_visible()
    assert "from_step=" in asked[-1]
    page.get_by_role("button", name="Show all steps").click()
    expect(page.get_by_role("button", name="Show all steps")).to_have_count(0)


def test_the_content_policy_holds_and_nothing_comes_from_elsewhere(
    page: Page, site: Site, console: Console, places: dict[str, str]
) -> None:
    foreign: list[str] = []
    page.on(
        "request",
        lambda request: request.url.startswith((site.url, "data:", "blob:")) or foreign.append(request.url),
    )
    reply = page.goto(site.url)
    assert reply is not None
    policy = reply.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "script-src 'self'" in policy
    page.evaluate("place => { location.hash = place }", places["figures"])
    expect(page.locator(".plot canvas").first).to_be_visible()
    assert page.evaluate("(() => { try { return eval('1') } catch { return 'refused' } })()") in (
        1,
        "refused",
    )
    assert foreign == []
