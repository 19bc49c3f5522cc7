"""A job is an iterator of records: `run(spec)` yields them, whoever iterates decides where they go."""

from __future__ import annotations

import sys
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any

import torch

import bfc_core.baselines
import bfc_core.learners
import bfc_core.probes
import bfc_core.targets

# The rooms register their deeds as they are imported.
from bfc_core.images import engine, packs, stored
from bfc_core.probes.stored import probe_stored
from bfc_core.records import Checkpoint, Record
from bfc_core.specs.data import UPLOADED
from bfc_core.specs.train import BaselineSpec, ProbeSpec, TrainSpec
from bfc_core.threads import use_threads
from bfc_core.training.engine import train_pack
from bfc_core.training.members import Audience

Asked = Callable[[], bool]
DTYPES = {"float32": torch.float32, "float64": torch.float64}


def run(
    spec: TrainSpec | ProbeSpec | BaselineSpec,
    *,
    resume: Checkpoint | None = None,
    device: str = "cpu",
    dtype: str | None = None,
    threads: int = 1,
    checkpoint_now: Asked | None = None,
    inputs: Any = None,
) -> Iterator[Record]:
    """The records of one job, the last a Result or a Failure.

    Same spec, device model, dtype, threads and version: the same records, bit for bit but for seconds, also when
    resumed from any of its checkpoints. `checkpoint_now` is asked between steps; a Checkpoint follows at once when
    it turns true. `inputs` holds the stored things a job names: data sets, snapshots.
    """
    use_threads(threads)
    if isinstance(spec, BaselineSpec):
        yield from bfc_core.baselines.run_baseline(spec, device=device)
    elif isinstance(spec, ProbeSpec):
        snapshots = inputs.snapshots if inputs is not None else []
        if stored.of_images(snapshots):
            yield from stored.probe_stored(spec, snapshots, torch.device(device), inputs)
        else:
            yield from probe_stored(spec, snapshots, torch.device(device))
    elif isinstance(spec.data, UPLOADED):
        yield from engine.train(
            spec,
            resume=resume,
            device=device,
            dtype=dtype,
            threads=threads,
            checkpoint_now=checkpoint_now,
            inputs=inputs,
        )
    else:
        yield from _train(spec, resume, device, dtype, checkpoint_now, inputs)


def run_pack(
    specs: Sequence[TrainSpec],
    *,
    resume: Mapping[int, Checkpoint] | None = None,
    active: Container[int] | None = None,
    gone: Callable[[], set[int]] | None = None,
    device: str = "cpu",
    dtype: str | None = None,
    threads: int = 1,
    checkpoint_now: Asked | None = None,
    inputs: Any = None,
) -> Iterator[tuple[int, Record]]:
    """The records of several trainings of one shape, trained as one program: (slot, record).

    The program's shape follows from all of `specs`, so no member's numbers depend on which slots are `active`, on
    which `gone` reports, or on when: other slots compute unread.
    """
    use_threads(threads)
    if not specs:
        return
    if isinstance(specs[0].data, UPLOADED):
        yield from packs.train_pack(
            specs,
            resume=resume,
            active=active,
            gone=gone,
            device=device,
            dtype=dtype,
            threads=threads,
            checkpoint_now=checkpoint_now,
            inputs=inputs,
        )
        return
    chosen = DTYPES[dtype or specs[0].dtype]
    yield from train_pack(
        specs,
        resume=resume or {},
        audience=Audience(active, gone),
        checkpoint_now=checkpoint_now,
        device=torch.device(device),
        dtype=chosen,
    )


def _train(spec: TrainSpec, resume: Checkpoint | None, device: str, dtype: str | None, checkpoint_now: Asked | None,
           inputs: Any) -> Iterator[Record]:  # fmt: skip
    del inputs
    found = {0: resume} if resume is not None else {}
    for _, record in run_pack([spec], resume=found, device=device, dtype=dtype, threads=torch.get_num_threads(),
                              checkpoint_now=checkpoint_now):  # fmt: skip
        yield record


class _CallableModule(ModuleType):
    """Importing this module binds the name `run` of the package to it; called, it is the function all the same."""

    def __call__(self, spec: Any, **options: Any) -> Iterator[Record]:
        return run(spec, **options)


sys.modules[__name__].__class__ = _CallableModule
