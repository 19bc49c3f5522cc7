"""Probes on every synthetic target and both dense learners, at initialisation."""

import math

import pytest

import bfc_core.probes  # noqa: F401  registers what deed_of finds
from bfc_core.probes.base import Reading
from bfc_core.registry import deed_of
from bfc_core.specs.train import TrainSpec
from tests.bfc_core.probes.still import StillView

DATA = {
    "hierarchical": {"kind": "hierarchical", "input_dim": 6, "width": 2, "samples": 100},
    "gaussian": {"kind": "hierarchical", "input_dim": 6, "width": 2, "inputs": "gaussian", "samples": 100},
    "sign": {"kind": "hierarchical", "input_dim": 6, "width": 2, "inputs": "sign", "samples": 100},
    "staircase": {"kind": "staircase", "input_dim": 8, "samples": 100},
    "multi_index": {"kind": "multi_index", "input_dim": 6, "samples": 100},
    "spiked": {"kind": "multi_index", "input_dim": 6, "spike": 2.0, "samples": 100},
    "random_hierarchy": {
        "kind": "random_hierarchy",
        "vocabulary": 4,
        "synonyms": 2,
        "levels": 2,
        "samples": 100,
    },
}
KINDS = (
    "feature_error", "captured", "degrees", "linear", "information_gap", "tangent_kernel", "agop",
    "weight_correlation", "movement", "cka",
)  # fmt: skip


def read(kind: str, view: StillView, **fields: object) -> list[Reading]:
    sizes = {} if kind == "movement" else {"inputs": 64 if kind in ("tangent_kernel", "agop") else 1000}
    body = {
        "data": {"kind": "staircase"},
        "model": {"kind": "mlp"},
        "probes": [{"kind": kind, **sizes, **fields}],
    }
    probe = TrainSpec.model_validate(body).probes[0]
    return list(deed_of(probe)(probe, view))


# A quadratic_densenet has one output, a random hierarchy many classes.
COMBINATIONS = [
    *((d, m) for d in DATA for m in ("quadratic_densenet", "mlp") if (d, m[0]) != ("random_hierarchy", "q")),
    ("random_hierarchy", "tree_convnet"),
]


@pytest.mark.parametrize(("data", "model"), COMBINATIONS)
def test_every_probe_answers_with_numbers_or_with_a_reason(data: str, model: str) -> None:
    view = StillView(model, 2, DATA[data])
    for kind in KINDS:
        for reading in read(kind, view):
            assert reading.values.shape == (2,), (kind, reading.key)
            finite = all(math.isfinite(value) for value in reading.values.tolist())
            assert finite or reading.undefined is not None or reading.key == "lambda", (kind, reading.key)


@pytest.mark.parametrize("data", ["staircase", "random_hierarchy"])
def test_sensitivity_answers_for_its_targets(data: str) -> None:
    found = read("sensitivity", StillView("mlp", 2, DATA[data]))
    assert len(found) >= 2
    assert all(reading.undefined is None for reading in found)


def test_a_two_layer_probe_stands_beside_initialisation_and_shuffled_labels() -> None:
    keys = [one.key for one in read("two_layer", StillView("quadratic_densenet", 1), width=4, layers=[2])]
    assert keys == ["two_layer", "two_layer_initial", "two_layer_shuffled"]


def test_sensitivity_gives_a_reason_elsewhere() -> None:
    (found,) = read("sensitivity", StillView("mlp", 1, DATA["gaussian"]))
    assert found.undefined is not None


def test_degrees_are_exact_at_the_lowest_level_and_carry_an_error_above() -> None:
    view = StillView("quadratic_densenet", 2)
    found = {(one.key, one.layer): one.values for one in read("degrees", view)}
    captured = {one.key: one.values for one in read("captured", view) if one.layer == 2}
    for i in range(2):
        missing = found[f"degrees/1/{i}", 2] + found[f"degrees/2/{i}", 2]
        assert missing.tolist() == pytest.approx((1 - captured[f"captured/{i}"]).tolist())
    assert ("degrees_error/4", 3) in found
    assert ("degrees/5", 3) not in found
    assert ("split/span", 2) in found


def test_the_split_is_given_for_a_fixed_read_out_alone() -> None:
    assert not any(one.key.startswith("split") for one in read("degrees", StillView("mlp", 1)))


def test_a_lowest_level_as_wide_as_what_it_reads_is_trivial() -> None:
    view = StillView("quadratic_densenet", 1, {**DATA["hierarchical"], "input_dim": 2})
    lowest, *_ = read("feature_error", view)
    assert lowest.undefined is not None
    assert "trivial" in lowest.undefined


def test_layers_are_compared_with_each_other_when_asked() -> None:
    keys = [(one.key, one.layer) for one in read("cka", StillView("mlp", 1), against="layers")]
    assert keys == [(f"{key}/{b}", a) for key in ("cka", "cka_biased") for a, b in ((1, 2), (1, 3), (2, 3))]
