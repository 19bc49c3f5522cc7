"""The quick study's numbers (bench/measured/reproduce.md), three seeds, at another size than the default."""

from __future__ import annotations

import statistics

import pytest

from tests.bfc_core.training.packs import result, small, together

ARMS = ("joint", "layerwise", "layerwise_then_joint", "detached", "longer")


@pytest.mark.slow
@pytest.mark.parametrize("readout", ["fixed", "signed"])
def test_correction_is_backward_on_the_quick_target(readout: str) -> None:
    pack = [
        small(
            arm,
            seed=700 + seed,
            steps=2000,
            data={"input_dim": 18, "width": 3, "samples": 4000, "test_samples": 2000},
            model={"width": 6, "readout": readout},
            budget={"batch": 128},
            optimizer={"warmup_steps": 100},
            probes=[{"kind": "feature_error"}],
        )
        for arm in ARMS
        for seed in range(3)
    ]
    found = {slot: result(records).summary for slot, records in together(pack).items()}
    errors, features = (
        {arm: statistics.median(found[3 * i + seed][key] for seed in range(3)) for i, arm in enumerate(ARMS)}
        for key in ("relative_test_error", "feature_error_2")
    )
    assert errors["joint"] < 1e-3
    assert errors["layerwise"] > 0.1
    assert errors["layerwise_then_joint"] < 1e-3
    assert features["layerwise"] > 1000 * features["layerwise_then_joint"]
    assert min(features["longer"], features["detached"]) > 0.05
