"""Probes of the class by each block's features: fitted on training pictures, read on test pictures.

`linear_accuracy` has `…_initial` beside it, from initialisation, and `…_shuffled`, fitted to shuffled labels;
`information_gap` is a block's accuracy minus the best of the blocks below it (chance for the first). For real
targets `linear` is the relative error.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from bfc_core import specs
from bfc_core.measures.ridge import PENALTIES
from bfc_core.probes.linear import linear_accuracies, linear_errors
from bfc_core.probes.ridge import Spectrum, accuracies, relative_errors
from bfc_core.probes.two_layer import two_layer_predictions
from bfc_core.specs import probe as words
from bfc_core.streams import stream

from .taps import tapped
from .trainee import Trainee

Found = Iterator[tuple[str, int | None, float]]


class ClassProbes:
    """Probes of one moment of a training; features of all blocks come from one pass and serve every probe."""

    def __init__(self, trainee: Trainee, blocks: Sequence[int], test: Mapping[int, Tensor]) -> None:
        """`test`: block -> features (n, d) of the first n test inputs, which the test pass has given already."""
        self.trainee = trainee
        self.blocks = tuple(blocks)
        self._test = test
        self._train: dict[int, dict[int, Tensor]] = {}
        #: of training features, by block and count: one serves the labels and their shuffled control
        self._spectra: dict[tuple[int, int], Spectrum] = {}

    def linear(self, probe: words.Linear, initial: bool) -> Found:
        """The probe by block, at initialisation as `…_initial` too."""
        truth = self._labels("train", probe.inputs)
        for block in self._wanted(probe):
            value = self._fit(block, probe.inputs, truth, probe.penalties, probe.streaming)
            yield self._key, block, value
            if initial:
                yield f"{self._key}_initial", block, value

    def shuffled(self, probe: words.Linear) -> Found:
        """The probe by block, fitted to labels that have nothing to do with the inputs."""
        draws = stream("data", specs.seeds(self.trainee.spec.seed).data, "shuffled labels")
        truth = self._labels("train", probe.inputs)
        wrong = truth[torch.randperm(len(truth), generator=draws).to(truth.device)]
        for block in self._wanted(probe):
            yield (
                f"{self._key}_shuffled",
                block,
                self._fit(block, probe.inputs, wrong, probe.penalties, probe.streaming),
            )

    @property
    def _key(self) -> str:
        return "linear_accuracy" if self.trainee.data.classes else "linear"

    def two_layer(self, probe: words.TwoLayer, initial: bool) -> Found:
        """A small network's accuracy (or relative error) by block, at initialisation as `…_initial` too."""
        key = "two_layer_accuracy" if self.trainee.data.classes else "two_layer"
        seed = specs.seeds(self.trainee.spec.seed).data
        for block in self._wanted(probe):
            z, y, split = self._joined(block, probe.inputs, self._labels("train", probe.inputs))
            draws = stream("data", seed, "two-layer probe", block)
            value = math.nan
            if torch.isfinite(z).all():
                predicted = two_layer_predictions(z, y, split, probe.width, draws).detach().double()
                score = accuracies if self.trainee.data.classes else relative_errors
                value = float(score(predicted, y[split:])[0])
            yield key, block, value
            if initial:
                yield f"{key}_initial", block, value

    def information_gap(self, probe: words.InformationGap) -> Found:
        """`information_gap` by block, from streaming ridge probes."""
        penalties = None if probe.ridge is None else (probe.ridge,)
        truth, wanted, best = self._labels("train", probe.inputs), self._wanted(probe), self._chance()
        for block in self.blocks:
            value = self._fit(block, probe.inputs, truth, penalties, streaming=True)
            held = value if self.trainee.data.classes else 1 - value
            if block in wanted:
                yield "information_gap", block, held - best
            best = max(best, held)

    def _wanted(self, probe: words.Probe) -> tuple[int, ...]:
        return tuple(block for block in self.blocks if probe.layers is None or block in probe.layers)

    def _fit(
        self, block: int, count: int, labels: Tensor, penalties: tuple[float, ...] | None, streaming: bool
    ) -> float:
        """Test accuracy of one block's probe, or its relative error for real targets."""
        z, y, split = self._joined(block, count, labels)
        if not torch.isfinite(z).all():
            return math.nan  # a network that ran away has no probe; its metric is left out
        spectrum = self._spectra.get((block, count))
        if streaming and spectrum is None:
            spectrum = self._spectra[block, count] = Spectrum.of(z[:, :split])
        if self.trainee.data.classes:
            return float(
                linear_accuracies(z, y, split, penalties, streaming=streaming, spectrum=spectrum)[0]
            )
        return float(
            linear_errors(z, y, split, penalties or PENALTIES, streaming=streaming, spectrum=spectrum)[0]
        )

    def _joined(self, block: int, count: int, labels: Tensor) -> tuple[Tensor, Tensor, int]:
        """Features (1, n, d) and labels (n, o) of training inputs, then of test inputs, and where these begin."""
        fitted, tested = self._fitted(count)[block], self._test[block][:count]
        labels = torch.cat([labels, self._labels("test", count)])
        return torch.cat([fitted, tested])[None], labels, len(fitted)

    def _labels(self, part: str, count: int) -> Tensor:
        """Class indicators (n, c), or targets (n, 1)."""
        labels = getattr(self.trainee.data, part).labels[:count]
        if self.trainee.data.classes:
            return torch.nn.functional.one_hot(labels, self.trainee.data.classes)
        column: Tensor = labels[:, None]
        return column

    def _fitted(self, count: int) -> dict[int, Tensor]:
        """Features of the first `count` training inputs, unaugmented."""
        if count not in self._train:
            self._train[count] = tapped(self.trainee, self.trainee.data.train.inputs[:count], self.blocks)
        return self._train[count]

    def _chance(self) -> float:
        """Accuracy of always answering the most frequent class."""
        if not self.trainee.data.classes:
            return 0.0
        labels = self.trainee.data.test.labels
        return float(torch.bincount(labels).max()) / len(labels)
