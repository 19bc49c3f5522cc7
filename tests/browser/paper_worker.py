"""A worker on paper: it claims jobs as the test says, and writes what a real one would."""

from typing import Any

import numpy as np

from bfc_core import specs, studies
from bfc_core.records import Column, Result, Table
from store import claims, conclusions, endings, jobs
from tests.api.works import Works

SAYS = "Joint training beats layerwise training: supported on 9 seeds."
EFFECT = {"effect": 2.5, "interval": [2.1, 2.8], "unit": "log10 ratio", "verdict": "supported", "words": {}}
COMPONENT = {
    "name": "layerwise_over_joint",
    "threshold": 1.0,
    "direction": "at_least",
    "passing": 8,
    **EFFECT,
}
CLAIM = {
    "claim": "joint_beats_layerwise", "readout": "signed", "headline": True, "n": 9, "planned": 9, **EFFECT,
    "components": [COMPONENT], "decided_by": "layerwise_over_joint", "n_needed": None, "family_wise": True,
    "rule": "order statistics 2 and 8", "says": SAYS,
}  # fmt: skip
TRAINED = {"relative_test_error": 2.8e-4, "stuck": False, "updates": 2000}
STUDY = {
    "kind": "study",
    "spec": {
        "kind": "correction",
        "seeds": 3,
        "readouts": ["signed"],
        "baselines": None,
        "how_deep": False,
        "base": {"budget": {"steps": 20}, "data": {"kind": "hierarchical", "input_dim": 8, "width": 2}},
    },
}


class PaperWorker(Works):
    """Moves jobs of the site, one at a time."""

    def train(self, name: str, **spec: Any) -> str:
        """A queued train job."""
        return self.submit(self.project, name=name, spec=spec)

    def start(self, job_id: str) -> claims.Claimed:
        """The job begins to run."""
        return self.claimed(job_id)

    def advance(self, one: claims.Claimed, done: int, total: int = 2000) -> None:
        """A heartbeat with progress."""
        self.run(claims.beat, [claims.Beat(one.id, one.epoch, done, total, "step")], 600.0)

    def curve(self, one: claims.Claimed, points: int = 40, key: str = "train_loss", mark: int = 1) -> None:
        """A falling series."""
        self.points(one, key, np.exp(-np.linspace(0, 8, points)), mark=mark)
        self.tell(one.id, "metric", {"key": key, "step": points - 1, "value": float(np.exp(-8))})

    def finish(self, one: claims.Claimed, summary: dict[str, Any] | None = None) -> None:
        self.end(one, "succeeded", result=Result(summary or TRAINED, {}))

    def done(self, name: str, error: float = 2.8e-4, **spec: Any) -> str:
        """A train job that has succeeded, with curves."""
        job = self.train(name, **spec)
        one = self.start(job)
        self.curve(one)
        self.curve(one, key="test_error", mark=2)
        self.finish(one, {**TRAINED, "relative_test_error": error})
        return job

    def submit_study(self, name: str, body: dict[str, Any] = STUDY) -> str:
        job = specs.parse_job({**body, "name": name})
        return str(self.run(jobs.submit, self.project, job, studies.members(job.spec)))

    def run_members(self, study: str, most: int = 10_000, points: int = 40) -> int:
        """Runs members of the study to their end, whole packs, until `most` have ended; each with so many points."""
        ended = 0
        # What other tests left queued may come first: it is taken and left alone.
        while ended < most and (claimed := self.claim()):
            own = [one for one in claimed if one.parent_id == study]
            for one in own:
                self.advance(one, 0)  # a lease that outlasts many points
            for one in own:
                self.curve(one, points, key="test_error")
                self.finish(one)
            ended += len(own)
        return ended

    def conclude(self, study: str) -> None:
        """The study's tables and claims."""
        worker = self.worker()
        row = self.run(conclusions.claim, worker.worker_id, 600.0)
        assert row is not None
        assert row.id == study
        columns = (
            "schedule",
            "readout",
            "seed",
            "relative_test_error",
            "feature_error_2",
            "updates",
            "stuck",
        )
        rows = tuple(
            (schedule, "signed", seed, error * (1 + seed), error, 2000, False)
            for schedule, error in (("joint", 3e-4), ("layerwise", 0.2))
            for seed in range(3)
        )
        table = Table(tuple(Column(column, "number", None) for column in columns), rows)
        result = Result({"claims": [CLAIM], "members": len(rows)}, {"runs": table})
        self.run(endings.end, [endings.Ending(row.id, row.epoch, "succeeded", result=result)])
