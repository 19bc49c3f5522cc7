"""Every arm of a study of pictures on one page: what it was given, what it reached, and the arm to hold it against.

Source: docs/science.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from bfc_core import specs
from bfc_core.records import Column, Table
from bfc_core.studies.arms import Arm, window_name
from bfc_core.studies.outcomes import Outcome
from bfc_core.studies.picture_claims import points, sampling_error
from bfc_core.studies.tables import columns, table

if TYPE_CHECKING:
    from bfc_core.studies.correction import Run

COLUMNS = (
    *columns("string", "schedule"),
    *columns("integer", "seed"),
    Column("updates", "integer", "step"),
    Column("flops", "integer", "FLOP"),
    *columns("number", "test_error"),
    *columns("string", "against"),
    Column("against_updates", "integer", "step"),
    Column("against_flops", "integer", "FLOP"),
    *columns("number", "gain", "sampling_error", unit="points"),
    *columns("string", "state"),
)

def side_by_side(runs: Iterable[Run]) -> Table:
    """One row a run: updates, FLOPs and test error; and against its control of equal updates (else joint training of the
    same seed) the gain in accuracy, positive where the arm is better, with the standard error over the shared test inputs.
    """
    found = {(run.arm.name, run.readout, run.index): run for run in runs if run.arm.table != "starts"}
    return table(COLUMNS, _rows(found))


def _rows(runs: Mapping[tuple[str, str, int], Run]) -> Iterator[dict[str, Any]]:
    for run in runs.values():
        row = {
            "schedule": run.arm.name,
            "seed": run.seed,
            "updates": specs.total_steps(run.spec),
            "flops": specs.estimate(run.spec).flops,
            "test_error": _error(run.outcome),
            "state": "diverged" if run.outcome.diverged else run.outcome.state,
        }
        control = runs.get((against(run.arm) or "", run.readout, run.index))
        yield row if control is None else row | _gain(run, control)


def _error(outcome: Outcome) -> float | None:
    """The share of wrong answers, or for real targets the error over their variance; None without either."""
    accuracy = outcome.number("test_accuracy")
    if outcome.diverged:
        return None
    return outcome.number("relative_test_error") if accuracy is None else 1 - accuracy


def _gain(run: Run, control: Run) -> dict[str, Any]:
    error = sampling_error(run.outcome, control.outcome)
    accuracies = (run.outcome.number("test_accuracy"), control.outcome.number("test_accuracy"))
    return {
        "against": control.arm.name,
        "against_updates": specs.total_steps(control.spec),
        "against_flops": specs.estimate(control.spec).flops,
        "gain": None if error is None else points(*accuracies),
        "sampling_error": error,
    }


def against(arm: Arm) -> str | None:
    """The arm that `arm` is held against: its control of equal updates where it has one, else joint training."""
    if arm.control == "sliding":
        return f"{arm.name}/greedy"
    if arm.control == "none" and arm.train_up_to is not None and arm.free:
        return window_name(arm.train_up_to, arm.free, "equal_updates")
    if arm.table == "how_deep":
        return None if arm.control == "joint" else "window/joint"
    return None if arm.name == "joint" else "joint"
