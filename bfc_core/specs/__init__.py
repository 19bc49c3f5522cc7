"""The language of the lab: typed, versioned JSON specs. Pydantic only; imports without torch."""

from __future__ import annotations

from bfc_core.specs.baseline import LEARNERS, BaselineKind, baseline_name
from bfc_core.specs.costs import Estimate, combined, estimate, together
from bfc_core.specs.data import DataSpec
from bfc_core.specs.errors import Fault, SpecError
from bfc_core.specs.job import (
    JOBS,
    BaselineJob,
    Envelope,
    Job,
    Limits,
    ProbeJob,
    StudyJob,
    SweepJob,
    TrainJob,
    canonical,
    dump,
    load,
    parse_job,
    spec_hash,
)
from bfc_core.specs.model import ModelSpec
from bfc_core.specs.optimizer import Adam, Budget, OptimizerSpec, Sgd
from bfc_core.specs.probe import Probe, ProbeKind
from bfc_core.specs.resolution import Hold, Stage, heads, layers, stages, total_steps
from bfc_core.specs.roles import Roles, seeds
from bfc_core.specs.scalars import Spec
from bfc_core.specs.schedule import ScheduleSpec
from bfc_core.specs.shape import shape_key
from bfc_core.specs.study import (
    MAX_MEMBERS,
    ClaimSpec,
    CorrectionSpec,
    DuelSpec,
    InformationGapSpec,
    StudySpec,
    SweepSpec,
    placed,
)
from bfc_core.specs.train import BaselineSpec, ProbeSpec, Seeds, StudyBase, TrainSpec
from bfc_core.specs.vocabulary import catalog, words

__all__ = [
    "JOBS", "LEARNERS", "MAX_MEMBERS", "Adam", "BaselineJob", "BaselineKind", "BaselineSpec", "Budget", "ClaimSpec", "CorrectionSpec", "DataSpec",
    "DuelSpec", "Envelope", "Estimate", "Fault", "Hold", "InformationGapSpec", "Job", "Limits", "ModelSpec", "OptimizerSpec",
    "Probe", "ProbeJob", "ProbeKind", "ProbeSpec", "Roles", "ScheduleSpec", "Seeds", "Sgd", "Spec", "SpecError", "Stage",
    "StudyBase", "StudyJob", "StudySpec", "SweepJob", "SweepSpec", "TrainJob", "TrainSpec", "baseline_name", "canonical",
    "catalog", "combined", "dump", "estimate", "heads", "layers", "load", "parse_job", "placed", "seeds", "shape_key", "spec_hash",
    "stages", "together", "total_steps", "words",
]  # fmt: skip
