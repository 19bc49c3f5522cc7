"""The end of an image training: a summary and tables with the blocks' names, their convolutions, updates and probes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from bfc_core.records import Column, Result, Table

from .pictures import Picture
from .probing import Prober
from .trainee import Trainee


def result(
    trainee: Trainee,
    prober: Prober,
    updates: dict[int, int],
    flops: int,
    steps: int,
    pictures: Sequence[Picture] = (),
    right: Tensor | None = None,
) -> Result:
    """Accuracies on test and validation, and tables `blocks`, `boundaries`, for classes `answers` and, where asked for,
    `pictures`. `right` (n,) says which test inputs are classified rightly."""
    test, validation = prober.last("test_error"), prober.last("validation_error")
    summary: dict[str, Any] = {"updates": steps, "flops": flops, "stuck": None}
    if trainee.data.classes:
        summary |= {
            "test_accuracy": None if test is None else 1 - test,
            "validation_accuracy": None if validation is None else 1 - validation,
        }
    else:
        summary |= {"relative_test_error": test, "relative_validation_error": validation}
    summary |= {
        "samples": len(trainee.data.train),
        "test_samples": len(trainee.data.test),
        "parameters": sum(p.numel() for p in trainee.network.parameters()),
        "recipe": trainee.spec.recipe,
        "precision": trainee.precision,
    }
    summary |= {f"updates_{block}": count for block, count in updates.items()}
    for block, value in _last_by_block(prober).get("linear_accuracy", {}).items():
        summary[f"probe_accuracy_{block}"] = value
    tables = {"blocks": _blocks(trainee, updates, prober), "boundaries": _boundaries(prober)}
    if right is not None:
        tables["answers"] = _answers(right)
    if pictures:
        tables["pictures"] = _pictures(trainee, pictures)
    return Result(summary, tables)


def _last_by_block(prober: Prober) -> dict[str, dict[int, float]]:
    """Key -> block -> the newest value."""
    found: dict[str, dict[int, float]] = {}
    for _, _, key, block, value in prober.rows:
        if block is not None:
            found.setdefault(key, {})[block] = value
    return found


def _blocks(trainee: Trainee, updates: dict[int, int], prober: Prober) -> Table:
    accuracy = _last_by_block(prober).get("linear_accuracy", {})
    columns = (
        Column("block", "integer"),
        Column("name", "string"),
        Column("convs", "integer"),
        Column("updates", "integer", "step"),
        Column("flops_per_input", "integer"),
        Column("probe_accuracy", "number"),
    )
    network = trainee.network
    rows = tuple(
        (block, name, convs, updates[block], trainee.flops[block - 1], accuracy.get(block))
        for block, (name, convs) in enumerate(zip(network.names, network.convs, strict=True), 1)
    )
    return Table(columns, rows)


def _boundaries(prober: Prober) -> Table:
    """Everything read at initialisation (stage 0) and at stage ends, as for other networks."""
    columns = (
        Column("stage", "integer"),
        Column("step", "integer", "step"),
        Column("key", "string"),
        Column("layer", "integer"),
        Column("value", "number"),
    )
    rows = (
        (0 if step == 0 else stage + 1, step, key, block, value)
        for step, stage, key, block, value in prober.rows
    )
    return Table(columns, tuple(rows))


def _answers(right: Tensor) -> Table:
    """One row: a bit for each test input, in their order, set where it is classified rightly; as hexadecimal text.

    Two networks with the same test inputs are then compared input by input.
    """
    bits = np.packbits(right.cpu().numpy()).tobytes().hex()
    columns = (Column("part", "string"), Column("samples", "integer"), Column("right", "string"))
    return Table(columns, (("test", len(right), bits),))


def _pictures(trainee: Trainee, pictures: Sequence[Picture]) -> Table:
    """One row a picture; `url` holds its PNG as a data URL, so that a figure needs nothing else."""
    columns = (
        Column("block", "integer"),
        Column("name", "string"),
        Column("channel", "integer"),
        Column("kind", "string"),
        Column("when", "string"),
        Column("height", "integer", "pixel"),
        Column("width", "integer", "pixel"),
        Column("url", "string"),
    )
    told = {"now": "after", "before": "before", "init": "initial"}
    rows = (
        (
            p.block,
            trainee.network.names[p.block - 1],
            p.channel,
            p.kind,
            told[p.when],
            *p.pixels.shape[:2],
            p.url(),
        )
        for p in pictures
    )
    return Table(columns, tuple(rows))
