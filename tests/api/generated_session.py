"""The README's session through a client that a generator wrote from `/openapi.json`; run by test_generated_client.

Type-checked together with that client, which is why it stands in a file of its own.
"""

import sys
import time

from bfc_lab_client import Client
from bfc_lab_client.api.jobs import create_job, list_jobs, show_job
from bfc_lab_client.api.metrics import job_metrics
from bfc_lab_client.api.results import draw_figure, job_results
from bfc_lab_client.models import (
    Budget,
    Job,
    JobPage,
    LayerwiseThenJoint,
    Metrics,
    Problem,
    Results,
    TrainJob,
    TrainSpec,
)
from bfc_lab_client.types import File


def main(url: str) -> None:
    """Submits a job, waits for it, reads its series, its results and a figure of it."""
    client = Client(base_url=url)
    spec = TrainSpec(schedule=LayerwiseThenJoint(kind="layerwise_then_joint"), budget=Budget(steps=300))
    job = create_job.sync(client=client, body=TrainJob(kind="train", spec=spec))
    assert isinstance(job, Job), job
    print(job.id, flush=True)
    while job.state != "succeeded":
        time.sleep(0.2)
        again = show_job.sync(job.id, client=client)
        assert isinstance(again, Job), again
        job = again
    found = job_metrics.sync(job.id, client=client, keys=["test_error"])
    assert isinstance(found, Metrics), found
    results = job_results.sync(job.id, client=client)
    assert isinstance(results, Results), results
    assert "runs" in results.tables.additional_properties
    listed = list_jobs.sync(client=client, limit=1)
    assert isinstance(listed, JobPage), listed
    assert [one.id for one in listed.items] == [job.id]
    figure = draw_figure.sync(job.id, "curves.png", client=client)
    assert isinstance(figure, File), figure
    assert figure.payload.read(4) == b"\x89PNG"
    missing = show_job.sync("job_01hzy3v7k2q8s4t6w9x0", client=client)
    assert isinstance(missing, Problem), missing
    assert missing.status == 404
    print("done")


if __name__ == "__main__":
    main(sys.argv[1])
