"""Sums gathered on the device are the torch-free ones."""

import numpy as np
import pytest
import torch

from bfc_core.measures import RidgeSums, Sums, Undefined, cka
from bfc_core.probes.sums import LayerSums, StreamingRidge


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_layer_sums_are_the_torch_free_ones() -> None:
    layers = [draw(70, 4) + 5, draw(70, 3, seed=1), draw(70, 6, seed=2)]
    gathered = LayerSums()
    expected = Sums.start([layer[:20].numpy() for layer in layers])
    for i in range(0, 70, 20):
        gathered.add([layer[i : i + 20] for layer in layers])
        expected = expected.plus([layer[i : i + 20].numpy() for layer in layers])
    found = gathered.finish()
    for name in ("shift", "s", "c", "m", "q"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=1e-9, atol=1e-6)
    assert found.cka()[0][1] == pytest.approx(cka(layers[0].numpy(), layers[1].numpy()), abs=1e-6)


def test_a_streaming_ridge_is_the_torch_free_one() -> None:
    z, y = draw(90, 5), draw(90, 2, seed=1)
    gathered, expected = StreamingRidge(), RidgeSums.start(z[:30].numpy(), y[:30].numpy())
    for i in range(0, 90, 30):
        gathered.add(z[i : i + 30], y[i : i + 30])
        expected = expected.plus(z[i : i + 30].numpy(), y[i : i + 30].numpy())
    found, other = gathered.finish().fit(), expected.fit()
    assert not isinstance(found, Undefined)
    assert not isinstance(other, Undefined)
    assert found.penalty == other.penalty
    np.testing.assert_allclose(found.slope, other.slope, rtol=1e-5, atol=1e-7)


def test_sums_of_nothing_are_refused() -> None:
    for empty in (LayerSums(), StreamingRidge()):
        with pytest.raises(ValueError, match="no batch"):
            empty.finish()
