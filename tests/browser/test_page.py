"""A person at the page: jobs, studies, forms, figures, and a server that goes away and comes back."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Console
from tests.browser.paper_worker import SAYS, PaperWorker
from tests.site import Site

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]


def row(page: Page, name: str) -> object:
    return page.get_by_role("row").filter(has_text=name)


def test_a_job_submitted_from_the_form_is_watched_to_its_end(
    page: Page, site: Site, worker: PaperWorker
) -> None:
    page.goto(f"{site.url}/#/new?kind=train")
    page.get_by_label("name", exact=True).fill("from the form")
    page.get_by_text("budget", exact=True).click()
    page.get_by_label(re.compile("^steps")).fill("500")
    expect(page.get_by_role("region", name="Estimate").get_by_text("944")).to_be_visible()
    expect(page.get_by_label("The job as JSON")).to_have_value(re.compile('"steps": 500'))
    page.get_by_role("button", name="Submit").click()
    expect(page.get_by_role("heading", name="from the form")).to_be_visible()
    job = re.sub(r".*/jobs/", "", page.url)
    one = worker.start(job)
    expect(page.locator(".head .pill")).to_have_text(re.compile("running"))
    worker.advance(one, 250, 500)
    expect(page.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "50")
    worker.curve(one)
    expect(page.get_by_role("region", name="train loss")).to_be_visible()
    worker.finish(one)
    expect(page.locator(".head .pill")).to_have_text(re.compile("succeeded"))
    expect(page.get_by_role("region", name="Summary")).to_contain_text("2.8·10⁻⁴")


def test_wrong_input_is_told_at_its_field_and_cannot_be_submitted(
    page: Page, site: Site, console: Console
) -> None:
    page.goto(f"{site.url}/#/new?kind=train")
    page.get_by_text("budget", exact=True).click()
    steps = page.get_by_label(re.compile("^steps"))
    steps.fill("-1")
    expect(steps).to_have_attribute("aria-invalid", "true")
    expect(page.locator("[data-pointer='/spec/budget/steps'] .wrong")).not_to_be_empty()
    expect(page.get_by_role("button", name="Submit")).to_be_disabled()
    page.get_by_role("link", name="/spec/budget/steps").click()
    expect(steps).to_be_focused()
    steps.fill("100")
    expect(page.get_by_role("button", name="Submit")).to_be_enabled()
    expect(steps).not_to_have_attribute("aria-invalid", "true")
    console.forget("422")


def test_the_json_beside_the_form_is_the_form(page: Page, site: Site, console: Console) -> None:
    page.goto(f"{site.url}/#/new?kind=train")
    text = page.get_by_label("The job as JSON")
    text.fill('{"kind": "train", "name": "typed", "spec": {"seed": 7}}')
    expect(page.get_by_label("name", exact=True)).to_have_value("typed")
    text.fill('{"kind": ')
    expect(page.get_by_role("alert").filter(has_text="Not JSON yet")).to_be_visible()


@pytest.mark.parametrize("kind", ["study", "train", "sweep", "probe", "baseline"])
def test_every_kind_has_a_form_that_starts_valid(page: Page, site: Site, console: Console, kind: str) -> None:
    page.goto(f"{site.url}/#/new?kind={kind}")
    expect(page.get_by_role("group", name="Kind of job").get_by_role("button", pressed=True)).to_have_text(
        kind
    )
    if kind == "probe":  # its example names a job that is not here, and the form says so at that field
        expect(page.locator(".faults")).to_contain_text("/spec/of")
        console.forget("422")
    else:
        expect(page.get_by_role("region", name="Estimate")).to_be_visible()
        expect(page.get_by_role("button", name="Submit")).to_be_enabled()


def test_a_study_fills_member_by_member_and_ends_with_its_claims(
    page: Page, site: Site, worker: PaperWorker
) -> None:
    study = worker.submit_study("a filling study")
    page.goto(f"{site.url}/#/jobs/{study}")
    cells = page.locator(".members .cell")
    expect(cells.first).to_be_visible()
    expect(page.locator(".members .cell.is-succeeded")).to_have_count(0)
    first = worker.run_members(study, most=1)
    expect(page.locator(".members .cell.is-succeeded")).to_have_count(first)
    worker.run_members(study)
    worker.conclude(study)
    claim = page.locator(".claim")
    expect(claim).to_contain_text(SAYS)
    expect(claim).to_contain_text("n = 9")
    expect(claim).to_contain_text("interval [2.1, 2.8]")
    expect(claim.locator(".pill")).to_have_text(re.compile("supported"))
    page.get_by_role("navigation", name="Parts of the job").get_by_role("link", name="Tables").click()
    table = page.locator("[data-table='runs']")
    expect(table.get_by_role("row")).to_have_count(7)
    table.get_by_role("button", name="relative_test_error").click()
    expect(table.get_by_role("row").nth(1)).to_contain_text("joint")


def test_a_figure_is_drawn_here_and_downloaded_in_every_form(
    page: Page, site: Site, worker: PaperWorker
) -> None:
    job = worker.done("with a figure")
    page.goto(f"{site.url}/#/jobs/{job}/figures")
    figure = page.locator("[data-figure]").first
    expect(figure.locator(".plot canvas")).to_be_visible()
    for name, suffix in (("PNG", ".png"), ("SVG", ".svg"), ("Vega-Lite", ".vl.json"), ("CSV", ".csv")):
        with page.expect_download() as coming:
            figure.get_by_role("button", name=name, exact=True).click()
        assert coming.value.suggested_filename.endswith(suffix)
        assert coming.value.path().stat().st_size > 100


def test_a_job_is_cancelled_and_the_page_says_why(page: Page, site: Site, worker: PaperWorker) -> None:
    job = worker.train("to be cancelled")
    page.goto(f"{site.url}/#/jobs/{job}/why")
    expect(page.get_by_role("region", name="Why")).to_contain_text("Next:")
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator(".head .pill")).to_have_text(re.compile("cancelled"))
    expect(page.get_by_role("button", name="Retry")).to_be_visible()


def test_two_jobs_are_compared_by_spec_numbers_and_curves(
    page: Page, site: Site, worker: PaperWorker
) -> None:
    first = worker.done("first of two", seed=1)
    second = worker.done("second of two", 2.8e-3, seed=2)
    page.goto(f"{site.url}/#/compare?a={first}&b={second}")
    expect(page.get_by_role("region", name="Differences of the specs")).to_contain_text("/seed")
    results = page.get_by_role("region", name="Results").first
    expect(results.get_by_role("row").filter(has_text="relative test error")).to_contain_text("10")
    legend = page.get_by_role("region", name="train loss").get_by_role(
        "button", name="first of two", exact=True
    )
    expect(legend).to_be_visible()
    legend.click()
    expect(legend).to_have_attribute("aria-pressed", "false")


def test_the_list_is_live_and_filtered_by_the_server(page: Page, site: Site, worker: PaperWorker) -> None:
    page.goto(f"{site.url}/#/jobs")
    expect(page.locator("#pulse")).to_have_text("live")
    job = worker.train("appears by itself", seed=5)
    line = page.get_by_role("row").filter(has_text="appears by itself")
    expect(line).to_contain_text("queued")
    one = worker.start(job)
    expect(line).to_contain_text("running")
    worker.finish(one)
    expect(line).to_contain_text("succeeded")
    page.get_by_role("button", name="failed").click()
    expect(line).to_have_count(0)
    assert "state=failed" in page.url


def test_a_server_that_goes_away_is_said_and_waited_for(
    page: Page, site: Site, worker: PaperWorker, console: Console
) -> None:
    page.goto(f"{site.url}/#/jobs")
    expect(page.locator("#pulse")).to_have_text("live")
    site.stop()
    expect(page.get_by_role("alert")).to_contain_text("does not answer")
    worker.train("made while it was away")
    site.start()
    expect(page.get_by_role("alert")).to_have_count(0)
    expect(page.get_by_role("row").filter(has_text="made while it was away")).to_be_visible()
    console.forget("ERR_")


def test_a_refused_key_is_asked_for_again(
    open_page: Callable[..., Page], site: Site, worker: PaperWorker, console: Console, tmp_path: object
) -> None:
    from store import keys

    secret = worker.run(keys.create, worker.project, "page", ("read", "submit")).secret
    guarded = Site(site.database_url, site.broker_url, site.data, {"BFC_REQUIRE_KEY": "1"})
    guarded.start()
    try:
        page = open_page()
        page.goto(f"{guarded.url}/#/jobs")
        dialog = page.get_by_role("dialog", name="A key is needed")
        dialog.get_by_label("Key", exact=True).fill("bfc_wrong")
        dialog.get_by_role("button", name="Use this key").click()
        expect(dialog).to_contain_text("refused the key")
        dialog.get_by_label("Key", exact=True).fill(secret)
        dialog.get_by_role("button", name="Use this key").click()
        expect(page.locator("#pulse")).to_have_text("live")
        expect(dialog).to_have_count(0)
        page.reload()
        expect(page.locator("#pulse")).to_have_text("live")
        console.forget("401")
        page.context.close()
    finally:
        guarded.stop()


def test_the_keyboard_alone_reaches_a_job(page: Page, site: Site, worker: PaperWorker) -> None:
    job = worker.done("reached by keys")
    page.goto(f"{site.url}/#/new")
    page.locator("main h1").wait_for()
    page.keyboard.press("g")
    page.keyboard.press("j")
    expect(page.get_by_role("row").filter(has_text="reached by keys")).to_be_visible()
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("reached by keys")
    assert job in page.url
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keyboard")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_the_theme_is_kept(page: Page, site: Site) -> None:
    page.goto(site.url)
    page.get_by_role("button", name="Switch between light and dark").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")


def test_a_lost_place_leads_back(page: Page, site: Site, console: Console) -> None:
    page.goto(f"{site.url}/#/jobs/job_00000000000000000000000000")
    expect(page.get_by_role("alert").filter(has_text="Not found")).to_be_visible()
    page.get_by_role("link", name="Back to the jobs").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Jobs")
    console.forget("404")


def test_snapshots_are_seen_side_by_side(page: Page, site: Site, worker: PaperWorker) -> None:
    import numpy as np

    one = worker.start(worker.train("with snapshots", seed=11))
    places = np.linspace(-1, 1, 40, dtype=np.float32)
    shots = [
        worker.snapshot(one, "weights", step, W2=np.outer(places[:8], places) * step, b=places[:1])
        for step in (500, 1000)
    ]
    worker.finish(one)
    page.goto(f"{site.url}/#/jobs/{one.id}/snapshots")
    page.get_by_label("Choose the snapshot of step 500").check()
    page.get_by_label("Choose the snapshot of step 1000").check()
    page.get_by_role("link", name="Compare two").click()
    expect(page.get_by_role("region", name="Tensors side by side").locator("canvas")).to_have_count(2)
    page.goto(f"{site.url}/#/snapshots/{shots[0]}")
    expect(page.get_by_role("region", name="W2").get_by_role("img")).to_have_attribute(
        "aria-label", "heat map of 8 by 40"
    )


def test_every_place_opens(page: Page, site: Site) -> None:
    for place, heading in (
        ("catalog", "Catalog"), ("datasets", "Data sets"), ("workers", "Workers and queues"), ("keys", "Keys"),
    ):  # fmt: skip
        page.goto(f"{site.url}/#/{place}")
        expect(page.get_by_role("heading", level=1)).to_have_text(heading)
        expect(page.locator("main .loading")).to_have_count(0)
    page.goto(f"{site.url}/#/catalog")
    page.get_by_label("Find a word").fill("wide_resnet")
    expect(page.locator(".word:visible")).to_have_count(1)
    page.goto(f"{site.url}/docs")
    expect(page.locator("#swagger-ui .title")).to_be_visible()


def test_a_key_is_made_shown_once_and_deleted(page: Page, site: Site) -> None:
    page.goto(f"{site.url}/#/keys")
    page.get_by_label("Name", exact=True).fill("made on the page")
    page.get_by_role("button", name="Make a key").click()
    expect(page.get_by_role("button", name=re.compile("Copy bfc_"))).to_be_visible()
    line = page.get_by_role("row").filter(has_text="made on the page")
    line.get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(line).to_have_count(0)


def test_a_data_set_is_uploaded_and_a_bad_one_is_told(
    page: Page, site: Site, console: Console, tmp_path: object
) -> None:
    import io

    import numpy as np

    content = io.BytesIO()
    np.savez(content, x=np.zeros((20, 4), np.float32), y=np.zeros(20, np.int64))
    page.goto(f"{site.url}/#/datasets")
    files = page.get_by_label("File", exact=True)
    files.set_input_files({"name": "mine.npz", "mimeType": "application/zip", "buffer": content.getvalue()})
    page.get_by_role("button", name="Upload").click()
    expect(page.get_by_role("row").filter(has_text="mine")).to_contain_text("20×4")
    files.set_input_files({"name": "bad.npz", "mimeType": "application/zip", "buffer": b"not a zip"})
    page.get_by_role("button", name="Upload").click()
    expect(page.get_by_role("alert")).to_be_visible()
    console.forget("422")
