"""Training of image networks: stages in, records out.

A run is a function of its spec: the points at which it measures, keeps or logs depend on the step alone, and a
run resumed from a checkpoint yields the same bits. Only `Progress` and the moments of checkpoints follow the clock.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from typing import Protocol

import torch
from torch import Tensor

from bfc_core import specs
from bfc_core.records import Checkpoint, Failure, Metric, Progress, Record
from bfc_core.specs import TrainSpec
from bfc_core.specs.data import Uploaded
from bfc_core.threads import use_threads
from bfc_core.training.divergence import LOST

from .anchors import feature_snapshot, pack, unpack, weight_snapshot
from .data import Batches, Data, prepare
from .datasets import Arrays, DatasetError
from .precision import chosen_precision
from .probing import Prober
from .report import result
from .stage import Plan, digests, plans
from .taps import BATCH
from .trainee import Trainee

#: Prefix activations are cached up to this size; a constant, so that bits depend on the spec alone.
CACHE_BYTES = 1 << 30
_PROGRESS_SECONDS = 0.25
_LOSS_POINTS = 50


class Inputs(Protocol):
    """What was fetched for a job beside its spec."""

    def dataset(self, dataset_id: str) -> Arrays: ...


def train(
    spec: TrainSpec,
    *,
    resume: Checkpoint | None = None,
    device: str = "cpu",
    dtype: str | None = None,
    threads: int = 1,
    checkpoint_now: Callable[[], bool] | None = None,
    inputs: Inputs | None = None,
) -> Iterator[Record]:
    """The records of one training of an image network.

    `resume` is a checkpoint of this run, of one that shares its first stages (which are then not trained
    again), or of any other run of the same network, whose weights the first stage starts from.
    """
    use_threads(threads)
    assert isinstance(spec.data, Uploaded)
    if inputs is None:
        yield Failure("missing_data", f"data set {spec.data.dataset} was not fetched for this job")
        return
    try:
        arrays = inputs.dataset(spec.data.dataset)
        data = prepare(spec.data, arrays, specs.seeds(spec.seed).data, torch.device(device))
        run = Run(spec, data, dtype or spec.dtype, checkpoint_now or (lambda: False), resume)
    except (ValueError, DatasetError) as error:
        yield Failure("invalid_data", str(error), hint="change data or model so that they fit each other")
        return
    yield from run.records()


class Run:
    """One training under way: a trainee, its place in the schedule, and what was measured so far."""

    def __init__(
        self,
        spec: TrainSpec,
        data: Data,
        dtype: str,
        checkpoint_now: Callable[[], bool],
        resume: Checkpoint | None,
    ) -> None:
        self.spec = spec
        self.data = data
        self.checkpoint_now = checkpoint_now
        self.plans = plans(spec)
        self.total = specs.total_steps(spec)
        self.order_seed = specs.seeds(spec.seed).order
        self.augment = spec.data.augment if isinstance(spec.data, Uploaded) else "none"
        state = resume.state if resume is not None else {}
        kind = torch.float64 if dtype == "float64" else torch.float32
        precision = state.get("precision") or chosen_precision(spec, data.train.inputs.device, kind)
        self.trainee = Trainee(spec, data, kind, precision)
        self.prober = Prober(self.trainee)
        self.names = digests(spec)
        self.stage = self.step = self.done = 0
        self.updates = dict.fromkeys(range(1, len(self.trainee.network.blocks) + 1), 0)
        self.flops = 0
        self.losses = _Losses(data.train.inputs.device)
        self.pending: list[Record] = []
        self._checkpointed = self._told = time.monotonic()
        if resume is not None:
            self._resume(resume)

    # ---- records

    def records(self) -> Iterator[Record]:
        """Everything from where the run stands to its end."""
        yield Progress(self.done, self.total)
        while self.stage < len(self.plans):
            for record in self.stage_records():
                yield record
                if isinstance(record, Failure):
                    return
        yield from self.finish()

    def stage_records(self) -> Iterator[Record]:
        """The rest of the stage under way, up to the checkpoint at its end; with the initial readings before all."""
        plan = self.plans[self.stage]
        if self.step == 0:
            self.trainee.enter(plan)
        if self.done == 0:
            yield from self._measure(plan, end=True)
            yield from self._keep(plan, end=True)
        batches = self._batches(plan)
        steps = plan.stage.steps
        per_sample = self.trainee.step_flops(plan)
        every_loss = max(1, steps // _LOSS_POINTS)
        end = False
        while not end:
            inputs, labels = next(batches)
            self.losses.add(self.trainee.step(plan, self.step, inputs, labels))
            self.step += 1
            self.done += 1
            self.flops += per_sample * len(labels)
            for block in plan.stage.train:
                self.updates[block] += 1
            end = self.step == steps
            point = end or self._is_point(self.step)
            if point or self.step % every_loss == 0:
                loss = self.losses.mean()
                if not loss < LOST * self._scale():
                    yield from self._flush()
                    yield self._diverged(loss)
                    return
                unit = "nat" if self.data.classes else "mean square"
                self.pending.append(Metric(self.done, "train_loss", loss, unit=unit))
            if point:
                yield from self._measure(plan, end)
                yield from self._keep(plan, end)
            yield from self._between(plan, end)

    def _is_point(self, step: int) -> bool:
        """Whether something is measured or kept at this step within a stage."""
        return self.prober.due(step) or any(step % every == 0 for every in self._kept_every())

    def _kept_every(self) -> list[int]:
        kept = self.spec.snapshots
        return [one.every for one in (kept.weights, kept.features) if one is not None]

    def _measure(self, plan: Plan, end: bool) -> Iterator[Record]:
        """Errors on validation and test, and the probes that are due."""
        if end or self.prober.due(self.step):
            self.pending += self.prober.readings(plan, self.step, self.done, end)
        yield from self._flush()

    def _keep(self, plan: Plan, end: bool) -> Iterator[Record]:
        kept = self.spec.snapshots
        if kept.weights is not None and (end or self.step % kept.weights.every == 0):
            yield weight_snapshot(self.trainee, plan, self.done, end)
        if kept.features is not None and (end or self.step % kept.features.every == 0):
            features = self.prober.anchors(plan, self.done, kept.features.inputs)
            yield feature_snapshot(self.trainee, plan, self.done, end, features)

    def _between(self, plan: Plan, end: bool) -> Iterator[Record]:
        """What the clock asks for between two steps; a stage's end is always a checkpoint."""
        if end:
            self.stage, self.step = plan.index + 1, 0
        now = time.monotonic()
        if now - self._told >= _PROGRESS_SECONDS:
            self._told = now
            yield from self._flush()
            yield Progress(self.done, self.total)
        late = now - self._checkpointed >= self.spec.snapshots.checkpoint.every_seconds
        if end or late or self.checkpoint_now():
            yield from self._flush()
            yield self._checkpoint()
            self._checkpointed = time.monotonic()

    def _flush(self) -> Iterator[Record]:
        pending, self.pending = self.pending, []
        yield from pending

    def _scale(self) -> float:
        """The loss of knowing nothing: the targets' variance, or the entropy of the classes."""
        classes, labels = self.data.classes, self.data.train.labels
        return math.log(classes) if classes > 1 else float(labels.double().var(correction=0)) or 1.0

    def _diverged(self, loss: float) -> Failure:
        layer = self.trainee.fastest_block(self.plans[self.stage])
        said = f"reached {loss:.3g}" if math.isfinite(loss) else "is no longer a number"
        return Failure(
            "diverged",
            f"the training loss {said} at step {self.done}, the weights growing most in block {layer}",
            step=self.done,
            layer=layer,
            hint="lower optimizer.rate, set optimizer.clip, or lengthen the warm-up",
        )

    def finish(self) -> Iterator[Record]:
        """After the last stage: what is read once, and the result."""
        self.pending += self.prober.closing(self.plans[-1], self.done)
        yield from self._flush()
        yield Progress(self.total, self.total)
        drawn, right = self.prober.pictures(self.plans[-1]), self.prober.answers(self.plans[-1], self.done)
        yield result(self.trainee, self.prober, self.updates, self.flops, self.total, drawn, right)

    # ---- batches

    def _batches(self, plan: Plan) -> Iterator[tuple[Tensor, Tensor]]:
        """What the first block that trains reads, and labels, from the present step on."""
        trainee = self.trainee
        batches = Batches(self.data.train, plan.stage.batch, self.augment, self.order_seed, plan.index)
        if plan.prefix and batches.augment != "crop_flip":
            both = batches.augment == "flip"
            cache = self._cache(plan, both)
            if cache is not None:
                for samples, flips in batches.draws(self.step):
                    yield cache[flips.long() if both else 0, samples], self.data.train.labels[samples]
                return
        for stored, labels in batches(self.step):
            yield trainee.prefix(plan, trainee.inputs_of(stored)), labels

    def _cache(self, plan: Plan, both: bool) -> Tensor | None:
        """The frozen prefix's output (1 or 2 orientations, n, …) of every training sample, if it fits."""
        shape = self.trainee.network.shapes[plan.prefix - 1]
        item = 2 if self.trainee.precision == "bfloat16" else 4
        orientations = 2 if both else 1
        if orientations * len(self.data.train) * math.prod(shape) * item > CACHE_BYTES:
            return None
        turned = []
        for orientation in range(orientations):
            rows = []
            for stored in torch.split(self.data.train.inputs, BATCH):
                stored = stored.flip(2) if orientation else stored
                rows.append(self.trainee.prefix(plan, self.trainee.inputs_of(stored)))
            turned.append(torch.cat(rows))
        return torch.stack(turned)

    # ---- checkpoints

    def _checkpoint(self) -> Checkpoint:
        tensors = self.trainee.tensors()
        if self.step == 0:
            fresh = (
                ("average.", "optimizer.") if self.prober.paints else ("before.", "average.", "optimizer.")
            )
            tensors = {name: value for name, value in tensors.items() if not name.startswith(fresh)}
        state = {
            "engine": "images",
            "stages": list(self.names[: self.stage + (self.step > 0)]),
            "stage": self.stage,
            "step": self.step,
            "done": self.done,
            "updates": {str(block): count for block, count in self.updates.items()},
            "flops": self.flops,
            "losses": self.losses.state(),
            "precision": self.trainee.precision,
            "readings": self.prober.state(),
        }
        return Checkpoint(self.done, {name: pack(value) for name, value in tensors.items()}, state)

    def _resume(self, checkpoint: Checkpoint) -> None:
        tensors = {name: unpack(value) for name, value in checkpoint.tensors.items()}
        state = checkpoint.state
        past = state.get("stages", [])
        self.trainee.adopt(tensors)
        if not past or list(self.names[: len(past)]) != past:
            return  # another run's weights: the schedule starts from them at its first stage
        self.stage, self.step, self.done = state["stage"], state["step"], state["done"]
        self.updates = {int(block): count for block, count in state["updates"].items()}
        self.flops = state["flops"]
        self.losses.restore(state["losses"])
        self.prober.restore(state["readings"])
        if self.step:
            self.trainee.resume(self.plans[self.stage], tensors, self.step)
        elif self.stage == len(self.plans):
            self.trainee.prepare(self.plans[-1])
            self.trainee.restore_before(tensors)


class _Losses:
    """The mean training loss since it was last asked for, summed where it was computed."""

    def __init__(self, device: torch.device) -> None:
        self.total = torch.zeros((), dtype=torch.float64, device=device)
        self.count = 0

    def add(self, loss: Tensor) -> None:
        self.total += loss
        self.count += 1

    def mean(self) -> float:
        mean = float(self.total) / max(1, self.count)
        self.total.zero_()
        self.count = 0
        return mean

    def state(self) -> list[float]:
        return [float(self.total), self.count]

    def restore(self, state: list[float]) -> None:
        self.total.fill_(state[0])
        self.count = int(state[1])
