"""The client against a lab on paper: calls, refusals, retries."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from bfc_client import (
    AsyncClient,
    BadReply,
    Client,
    Conflict,
    Invalid,
    JobFailed,
    NotFound,
    Retries,
    ServerFault,
    TimedOut,
    Unauthorised,
    Unreachable,
)
from bfc_core import specs
from tests.client.paper_lab import PaperLab, Served, problem

TRAIN = {"kind": "train", "name": "quick", "spec": {"seed": 3}}
QUICK = Retries(times=3, first_seconds=0.001)


def test_a_submitted_job_comes_back_with_every_default_filled_in(at: Served) -> None:
    with Client(at.url) as lab:
        job = lab.submit(TRAIN)
    assert job.state == "queued"
    assert job.spec["seed"] == 3
    assert job.spec["budget"]["steps"] == 2000


def test_a_parsed_spec_is_submitted_like_its_json(at: Served) -> None:
    with Client(at.url) as lab:
        assert lab.submit(specs.parse_job(TRAIN)).spec == lab.submit(TRAIN).spec


def test_a_dry_run_queues_nothing(at: Served) -> None:
    with Client(at.url) as lab:
        assert lab.dry_run(TRAIN).estimate["parameters"] == 1
        assert list(lab.jobs()) == []


def test_a_refused_spec_names_each_fault_with_its_pointer(at: Served) -> None:
    with Client(at.url) as lab, pytest.raises(Invalid) as refusal:
        lab.submit(
            {"kind": "train", "spec": {"model": {"kind": "quadratic_densenet", "width": -1}, "sede": 1}}
        )
    pointers = {fault.pointer for fault in refusal.value.faults}
    assert {"/spec/model/width", "/spec/sede"} <= pointers
    assert "/spec/model/width" in str(refusal.value)


def test_a_request_that_met_a_busy_server_is_sent_again_and_makes_one_job(lab: PaperLab, at: Served) -> None:
    lab.faults.extend([problem(503, "Not ready"), problem(502, "Bad gateway")])
    with Client(at.url, retries=QUICK) as client:
        client.submit(TRAIN)
    assert len(lab.jobs) == 1
    assert len({request.headers["idempotency-key"] for request in lab.seen}) == 1
    assert len(lab.seen) == 3


def test_the_same_idempotency_key_gives_the_first_job_again(lab: PaperLab, at: Served) -> None:
    with Client(at.url) as client:
        first = client.submit(TRAIN, idempotency_key="mine")
        assert client.submit(TRAIN, idempotency_key="mine").id == first.id
        with pytest.raises(Conflict):
            client.submit({**TRAIN, "name": "other"}, idempotency_key="mine")


def test_a_limited_client_waits_as_long_as_it_is_asked(lab: PaperLab, at: Served) -> None:
    lab.faults.append(problem(429, "Too many requests", headers={"Retry-After": "0"}))
    with Client(at.url, retries=QUICK) as client:
        assert client.submit(TRAIN).state == "queued"


def test_a_server_that_stays_broken_is_reported_as_it_is(lab: PaperLab, at: Served) -> None:
    lab.faults.extend(problem(503, "Not ready", "the database does not answer") for _ in range(9))
    with (
        Client(at.url, retries=QUICK) as client,
        pytest.raises(ServerFault, match="the database does not answer"),
    ):
        client.job("job_x")
    assert len(lab.seen) == 1 + QUICK.times


def test_a_failed_state_change_is_not_repeated_blindly(lab: PaperLab, at: Served) -> None:
    job = lab.add(TRAIN)
    lab.faults.append(problem(502, "Bad gateway"))
    with Client(at.url, retries=QUICK) as client, pytest.raises(ServerFault):
        client.cancel(job["id"])
    assert len(lab.seen) == 1


def test_a_change_that_does_not_apply_is_a_conflict(lab: PaperLab, at: Served) -> None:
    job = lab.add(TRAIN)
    lab.move(job["id"], "succeeded")
    with Client(at.url) as client, pytest.raises(Conflict, match="succeeded"):
        client.cancel(job["id"])


def test_what_is_not_there_is_not_found(at: Served) -> None:
    with Client(at.url) as client, pytest.raises(NotFound):
        client.job("job_none")


def test_no_server_means_a_message_that_says_how_to_start_one() -> None:
    with Client("http://127.0.0.1:9", retries=Retries(times=0)) as client, pytest.raises(Unreachable) as away:
        client.job("job_x")
    assert "bfc serve" in str(away.value)


def test_another_service_at_the_address_is_told_apart(lab: PaperLab, at: Served) -> None:
    from starlette.responses import HTMLResponse

    lab.faults.append(HTMLResponse("<h1>It works!</h1>"))
    with Client(at.url) as client, pytest.raises(BadReply):
        client.job("job_x")


def test_the_key_is_sent_and_its_lack_is_named(
    lab: PaperLab, at: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.key = "bfc_secret"
    with Client(at.url) as client, pytest.raises(Unauthorised):
        list(client.jobs())
    monkeypatch.setenv("BFC_KEY", "bfc_secret")
    monkeypatch.setenv("BFC_URL", at.url)
    with Client() as client:
        assert list(client.jobs()) == []


def test_a_list_is_read_page_by_page_and_no_further_than_asked(lab: PaperLab, at: Served) -> None:
    made = [lab.add(TRAIN)["id"] for _ in range(5)]
    with Client(at.url) as client:
        assert [job.id for job in client.jobs(limit=2)] == made[::-1]
        lab.seen.clear()
        assert len(list(client.jobs(limit=2, most=3))) == 3
    assert len(lab.seen) == 2


def test_waiting_ends_with_the_job(lab: PaperLab, at: Served) -> None:
    good, bad = lab.add(TRAIN)["id"], lab.add(TRAIN)["id"]
    lab.move(good, "succeeded")
    lab.move(bad, "failed", error={"detail": "diverged at step 12"})
    with Client(at.url) as client:
        assert client.wait(good).state == "succeeded"
        assert client.wait(bad, check=False).state == "failed"
        with pytest.raises(JobFailed, match="diverged at step 12"):
            client.wait(bad)


def test_waiting_has_a_limit(lab: PaperLab, at: Served) -> None:
    job = lab.add(TRAIN)
    with Client(at.url) as client, pytest.raises(TimedOut):
        client.wait(job["id"], timeout_seconds=0.1)


def test_results_metrics_and_figures_come_back_typed(lab: PaperLab, at: Served) -> None:
    job = lab.add(TRAIN)["id"]
    claim = {"claim": "layerwise_fails", "verdict": "supported", "n": 9, "says": "it does"}
    table = {"columns": [{"name": "seed", "type": "integer", "unit": None}], "rows": [[0], [1]]}
    lab.results[job] = {"summary": {"claims": [claim]}, "tables": {"runs": table}}
    with Client(at.url) as client:
        found = client.results(job)
        assert found.claims[0].verdict == "supported"
        assert found.tables["runs"].column("seed") == [0, 1]
        assert client.table_csv(job, "runs") == "seed\n0\n1\n"
        assert client.metrics(job)[0].values == [1.0, 0.1]
        figure = client.figure(job, client.figures(job)[0].name)
    assert figure.spec == {"mark": "bar"}
    assert figure._repr_mimebundle_()["image/png"].startswith(b"\x89PNG")


def test_the_async_client_does_the_same(lab: PaperLab, at: Served) -> None:
    async def work() -> str:
        lab.faults.append(problem(503, "Not ready"))
        async with AsyncClient(at.url, retries=QUICK) as client:
            job = await client.submit(TRAIN)
            lab.move(job.id, "succeeded")
            ended = await client.wait(job)
            assert [found.id async for found in client.jobs()] == [job.id]
            assert [event.data["state"] async for event in client.events(job)] == ["queued", "succeeded"]
            assert (await client.figure(job.id, "how_deep")).spec == {"mark": "bar"}
            return ended.state

    # On a thread of its own: a browser test of the same process leaves a running loop on this one.
    with ThreadPoolExecutor(1) as apart:
        assert apart.submit(asyncio.run, work()).result() == "succeeded"


def test_both_clients_offer_the_same_calls() -> None:
    def names(kind: type) -> set[str]:
        return {name for name in vars(kind) if not name.startswith("_")}

    assert names(Client) == names(AsyncClient)


def test_a_job_that_may_be_answered_from_another_says_so_in_the_query(at: Served, lab: PaperLab) -> None:
    with Client(at.url) as client:
        client.submit(TRAIN, reuse=True)
        client.submit(TRAIN)
    assert [request.query_params.get("reuse") for request in lab.seen[-2:]] == ["true", None]
