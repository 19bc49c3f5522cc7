"""Write a job's series, or those of a study's members, as TensorBoard event files.

pip install tensorboardX
python examples/export_tensorboard.py JOB --logdir runs
tensorboard --logdir runs
"""

import argparse
import json
import sys
from pathlib import Path

from bfc_client import BfcError, Client, Job


def write(lab: Client, job: Job, folder: Path) -> int:
    """One run; how many points it holds."""
    from tensorboardX import SummaryWriter

    points = 0
    with SummaryWriter(str(folder)) as writer:
        writer.add_text("spec", f"```\n{json.dumps(job.spec, indent=1)}\n```")
        for series in lab.metrics(job, max_points=10_000):
            tag = series.key if series.layer is None else f"{series.key}/layer_{series.layer}"
            for step, value in zip(series.steps, series.values, strict=True):
                if value is not None:
                    writer.add_scalar(tag, value, step)
                    points += 1
    return points


def main() -> int:
    parser = argparse.ArgumentParser(description="Write jobs of the lab as TensorBoard event files.")
    parser.add_argument("job")
    parser.add_argument("--logdir", type=Path, default=Path("runs"))
    given = parser.parse_args()
    try:
        with Client() as lab:
            job = lab.job(given.job)
            found = list(lab.children(job)) if job.kind in ("study", "sweep") else [job]
            points = sum(
                write(lab, one, given.logdir / (one.name or one.id).replace("/", "-")) for one in found
            )
    except BfcError as fault:
        print(f"export: {fault}", file=sys.stderr)
        return 1
    except ModuleNotFoundError as missing:
        print(f"export: {missing.name} is not installed: pip install tensorboardX", file=sys.stderr)
        return 1
    print(f"{points} points in {given.logdir}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
