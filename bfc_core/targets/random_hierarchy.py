"""The random hierarchy model: a label expands by rules with synonyms into a string of symbols.

Source: Cagnetta, Petrini, Tomasini, Favero, Wyart, arXiv 2307.02129. Letters: n samples, v symbols (and classes),
m synonyms, s symbols a rule writes, L rules from label to input; height 0 is the input, height L the label.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Generator, Tensor

from bfc_core.registry import deed
from bfc_core.specs.data import RandomHierarchy
from bfc_core.streams import stream


class RandomHierarchyTeacher:
    """Inputs are one-hot strings of s^L symbols, each coordinate of zero mean and unit variance on average.

    y is the class as a centred one-hot of v numbers; the features of level h are the symbols at height h, one-hot.
    """

    def __init__(self, spec: RandomHierarchy, seed: int) -> None:
        self.spec = spec
        v = spec.vocabulary
        self.input_dim = self.read_dim = v * spec.branching**spec.levels
        self.output_dim = v
        self.levels = tuple(range(1, spec.levels + 1))
        self.variance = 1 - 1 / v
        #: rules[h] (v, m, s): what a symbol at height h + 1 may write at height h
        self.rules = [self._draw_rules(seed, height) for height in range(spec.levels)]
        self._parents = [self._inverse(rules) for rules in self.rules]

    @property
    def matrices(self) -> Mapping[int, Tensor]:
        return {}

    def inputs(self, count: int, generator: Generator) -> Tensor:
        label = torch.randint(self.spec.vocabulary, (count, 1), generator=generator)
        return self._coordinates(self._written(label, self.spec.levels, generator))

    def embed(self, x: Tensor) -> Tensor:
        return x

    def features(self, x: Tensor) -> dict[int, Tensor]:
        symbols = self.symbols(x)
        return {level: self._one_hot(symbols[level]).to(x) for level in self.levels}

    def labels(self, x: Tensor) -> Tensor:
        return self._one_hot(self.symbols(x)[self.spec.levels]).to(x)

    def symbols(self, x: Tensor) -> dict[int, Tensor]:
        """x (n, d) -> height -> the symbols there (n, s^(L − height)); rules are unambiguous, so they are read back."""
        v, s = self.spec.vocabulary, self.spec.branching
        found = {0: x.view(len(x), -1, v).argmax(dim=2)}
        place = v ** torch.arange(s, device=x.device)
        for height, (strings, parents) in enumerate(self._parents):
            read = (found[height].view(len(x), -1, s) * place).sum(dim=2)
            # A string that no rule writes, in an input of another model, is read as some neighbour's.
            place_of = torch.searchsorted(strings.to(x.device), read).clamp_(max=len(strings) - 1)
            found[height + 1] = parents.to(x.device)[place_of]
        return found

    def with_other_synonyms(self, x: Tensor, height: int, generator: Generator) -> Tensor:
        """x (n, d) with all that lies below `height` written anew: the symbols at `height`, so the label, stay."""
        return self._coordinates(self._written(self.symbols(x)[height].cpu(), height, generator)).to(x)

    def _written(self, symbols: Tensor, height: int, generator: Generator) -> Tensor:
        """Symbols (n, c) at `height` -> a string (n, c · s^height) at height 0."""
        for lower in reversed(range(height)):
            choice = torch.randint(self.spec.synonyms, symbols.shape, generator=generator)
            symbols = self.rules[lower][symbols, choice].flatten(1)
        return symbols

    def _coordinates(self, symbols: Tensor) -> Tensor:
        """Symbols (n, c) -> x (n, c · v) float32."""
        v = self.spec.vocabulary
        return self._one_hot(symbols).float() / math.sqrt((1 - 1 / v) / v)

    def _one_hot(self, symbols: Tensor) -> Tensor:
        """Symbols (n, c) -> one-hot minus 1/v, (n, c · v) float64."""
        v = self.spec.vocabulary
        return (torch.nn.functional.one_hot(symbols, v).double() - 1 / v).flatten(1)

    def _draw_rules(self, seed: int, height: int) -> Tensor:
        """v·m different strings of s symbols, m for each symbol: (v, m, s)."""
        v, m, s = self.spec.vocabulary, self.spec.synonyms, self.spec.branching
        generator = stream("target", seed, "rules", height)
        drawn = distinct_numbers(v**s, v * m, generator)
        digits = torch.stack([drawn // v**place % v for place in range(s)], dim=1)
        return digits.view(v, m, s)

    def _inverse(self, rules: Tensor) -> tuple[Tensor, Tensor]:
        """The strings that rules write, as numbers in rising order (v·m,), and the symbol that writes each."""
        v, m, s = rules.shape
        strings = (rules * v ** torch.arange(s)).sum(dim=2).flatten()
        order = strings.argsort()
        return strings[order], order // m


def distinct_numbers(below: int, count: int, generator: Generator) -> Tensor:
    """`count` different numbers in 0 … below − 1, in random order."""
    if below <= 4 * count:
        return torch.randperm(below, generator=generator)[:count]
    found: dict[int, None] = {}
    while len(found) < count:
        drawn = torch.randint(below, (count,), generator=generator)
        found.update(dict.fromkeys(drawn.tolist()))
    return torch.tensor(list(found)[:count])


@deed(RandomHierarchy)
def random_hierarchy(spec: RandomHierarchy, seed: int) -> RandomHierarchyTeacher:
    """The model whose rules `seed` draws."""
    return RandomHierarchyTeacher(spec, seed)
