"""Which trainings may share one pack."""

from __future__ import annotations

from bfc_core.specs.data import UPLOADED
from bfc_core.specs.job import canonical
from bfc_core.specs.train import TrainSpec

#: fields whose values may differ within a pack: they are masks, tables of numbers, or streams
FREE_DATA = {"gap", "weakest", "label_noise"}


def shape_key(spec: TrainSpec) -> str:
    """Two train specs with equal keys have tensors of one shape, and may train as one program.

    Pictures are packed by data and seed: members train one after the other, stages that they share once.
    Empty for a spec that is always trained alone (`lazy`, `staged`).
    """
    if isinstance(spec.data, UPLOADED):
        told = ("data", "seed", "device", "dtype")
        body = spec.model_dump(mode="json")
        return canonical({name: body[name] for name in told})
    if spec.schedule.kind in ("lazy", "staged"):
        return ""
    data = {name: value for name, value in spec.data.model_dump(mode="json").items() if name not in FREE_DATA}
    return canonical(
        {
            "data": data,
            "model": spec.model.model_dump(mode="json"),
            "batch": spec.budget.batch,
            "optimizer": spec.optimizer.kind,
            "device": spec.device,
            "dtype": spec.dtype,
        }
    )
