import math
import subprocess
import sys
from typing import Any

import pytest

from bfc_core import specs, studies


def faults(body: object) -> dict[str, str]:
    with pytest.raises(specs.SpecError) as caught:
        specs.parse_job(body)
    return {fault.pointer: fault.detail for fault in caught.value.faults}


def train(**spec: Any) -> dict[str, Any]:
    return {"kind": "train", "spec": spec}


def test_an_empty_train_spec_is_the_documented_example() -> None:
    spec = specs.dump(specs.parse_job({"kind": "train", "spec": {}}).spec)
    assert spec["data"] | {"label_noise": 0.0} == {
        "kind": "hierarchical", "input_dim": 20, "levels": 3, "width": 4, "gap": [1, -0.7], "weakest": 0.5,
        "topology": "dense", "inputs": "uniform", "samples": 4000, "test_samples": 8000, "label_noise": 0.0,
    }  # fmt: skip
    assert spec["budget"] == {"steps": 2000, "batch": 128}
    assert spec["optimizer"]["betas"] == [0.9, 0.99]
    assert spec["snapshots"] == {
        "weights": {"every": 500}, "features": {"every": 500, "inputs": 512}, "checkpoint": {"every_seconds": 30, "keep": 1},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("body", "pointer", "says"),
    [
        (train(modle={}), "/spec/modle", "did you mean 'model'"),
        (train(data={"kind": "hierarchica"}), "/spec/data/kind", "did you mean 'hierarchical'"),
        (train(model={"kind": "quadratic_densenet", "width": -1}), "/spec/model/width", "at least 1"),
        (train(data={"kind": "hierarchical", "gap": [1, 2, 3]}), "/spec/data/gap", "exactly levels − 1 = 2"),
        ({"kind": "baseline", "spec": {"data": {"samples": 4}}}, "/spec/data/samples", "5 or more"),
        (
            {"kind": "baseline", "spec": {"data": {"kind": "cifar10", "dataset": "ds_01hzy3v7k2q8s4t6w9x0"}}},
            "/spec/data/kind",
            "synthetic targets",
        ),
        (train(data={"input_dim": 1, "width": 1, "inputs": "sign"}), "/spec/data/inputs", "width below input_dim"),
        (
            train(model={"kind": "mlp", "depth": 1}, schedule={"kind": "minimal", "lazy": True}),
            "/spec/schedule/kind",
            "has one layer",
        ),
        (
            train(schedule={"kind": "stages", "stages": [{}, {"head": "convolutional"}]}),
            "/spec/schedule/stages/1/head",
            "accepted: linear",
        ),
        (train(data={"kind": "hierarchical", "samples": 10**9}), "/spec/data/samples", "at most 100000000"),
        (train(data={"kind": "hierarchical", "gap": [1, math.nan]}), "/spec/data/gap/1", "finite"),
        (train(schedule={"kind": "window", "train_up_to": 2, "free": 9}), "/spec/schedule/free", "0 to 1"),
        (train(budget={"steps": "many"}), "/spec/budget/steps", "an integer"),
        (train(budget={"steps": 2.5}), "/spec/budget/steps", "an integer"),
        (train(budget={"steps": True}), "/spec/budget/steps", "an integer"),
        ({"kind": "trian"}, "/kind", "did you mean 'train'"),
        ({"kind": "train", "spec": []}, "/spec", "an object"),
        ({"kind": ["train"]}, "/kind", ""),
        ({}, "/kind", "missing"),
        ([], "", "a JSON object"),
        ({"kind": "train", "labels": {"a": "x\x00"}}, "/labels/a", "control"),
        ({"kind": "sweep", "spec": {"grid": {"optimizer.rte": [1]}}}, "/spec/grid/optimizer.rte/0", "rate"),
        (
            {"kind": "study", "spec": {"kind": "duel", "against": ["svm"]}},
            "/spec/against/0",
            "kernel_ridge/rbf",
        ),
    ],
)
def test_a_fault_points_to_its_place_and_says_what_is_accepted(body: object, pointer: str, says: str) -> None:
    found = faults(body)
    assert pointer in found, found
    assert says in found[pointer]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (train(schedule={"free": 9}), {"/spec/schedule/free": "a field of the kind window; accepted: kind"}),
        (train(optimizer={"momentum": 0.5}), {"/spec/optimizer/momentum": "a field of the kind sgd"}),
        (train(device="tpu"), {"/spec/device": "accepted: auto, cpu, cuda or cuda:N"}),
        (train(seed=None), {"/spec/seed": "null; accepted: an integer, or an object"}),
        (train(seed={"target": -1, "init": True}), {"/spec/seed/target": "at least 0", "/spec/seed/init": "true; acc"}),
        (train(probes=[{}]), {"/spec/probes/0/kind": "accepted: feature_error, captured, linear"}),
        (
            train(probes=[{"kind": "linear", "layers": [1, 2, 9]}]),
            {"/spec/probes/0/layers/0": "layer 1", "/spec/probes/0/layers/2": "layer 9 is not in this network"},
        ),
        ({"kind": "study", "spec": {}}, {"/spec/kind": "accepted: correction, duel, information_gap"}),
        ({"kind": "study", "spec": {"kind": "correction", "readouts": ["fixd"]}}, {"/spec/readouts/0": "'fixed'"}),
        ({"kind": "study", "spec": {"kind": "correction", "readouts": []}}, {"/spec/readouts": "at least 1"}),
        ({"kind": "probe", "spec": {"of": {}, "probes": [{"kind": "cka"}]}}, {"/spec/of": "either job or snapshots"}),
        (
            {"kind": "sweep", "spec": {"grid": {"seed": [0, -1, "x"], "data.width": [-1, 4]}}},
            {"/spec/grid/seed/1": "at least 0", "/spec/grid/seed/2": "integer", "/spec/grid/data.width/0": "at least 1"},
        ),
        ({"kind": "train", "version": True}, {"/version": "true; accepted: an integer"}),
        ({"kind": "train", "version": 1.0}, {"/version": "1.0; accepted: an integer"}),
        ({"kind": "train", "after": ["x", 3]}, {"/after/0": "the id of a job", "/after/1": "a string"}),
    ],
)
def test_each_place_is_told_once_and_nothing_else(body: object, told: dict[str, str]) -> None:
    found = faults(body)
    assert found.keys() == told.keys(), found
    assert all(says in found[pointer] for pointer, says in told.items()), found


def test_every_fault_of_a_body_is_found_at_once() -> None:
    body = train(
        model={"kind": "mlp", "width": 0}, data={"kind": "hierarchical", "gap": [1]}, budget={"setps": 1}
    )
    assert set(faults(body)) == {"/spec/model/width", "/spec/data/gap", "/spec/budget/setps"}


def test_a_stored_spec_comes_back_the_same() -> None:
    for part, _, word in specs.words():
        if part == "job":
            job = specs.parse_job(word.example())
            assert specs.load(job.kind, specs.dump(job.spec)) == job.spec


def test_every_word_has_a_doc_a_source_and_a_valid_example() -> None:
    for _, _, word in specs.words():
        assert word.__doc__
        assert word.source
        word.model_validate(word.example())


def test_equal_specs_have_equal_hashes_however_they_are_written() -> None:
    written = specs.parse_job(train(optimizer={"kind": "adam", "clip": 1}, seed=0)).spec
    assert specs.spec_hash(written) == specs.spec_hash(specs.TrainSpec())
    assert specs.spec_hash(specs.TrainSpec(seed=1)) != specs.spec_hash(specs.TrainSpec())


def test_specs_import_without_torch() -> None:
    code = "import sys, bfc_core.specs, bfc_core.records; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_the_grid_of_a_sweep_lets_defaults_follow() -> None:
    spec = specs.parse_job({"kind": "sweep", "spec": {"grid": {"data.levels": [3, 4], "seed": [0, 1]}}}).spec
    points = list(spec.points())
    assert len(points) == 4
    assert [len(member.data.gap) for _, member in points] == [2, 2, 3, 3]


def test_a_sweep_reaches_into_default_lists() -> None:
    body = {"kind": "sweep", "spec": {"grid": {"probes.0.kind": ["captured", "linear"], "probes.0.every": [50]}}}
    found = [member.probes[0] for _, member in specs.parse_job(body).spec.points()]
    assert [(probe.kind, probe.every) for probe in found] == [("captured", 50), ("linear", 50)]


def test_values_that_are_wrong_only_together_are_refused() -> None:
    grid = {"model.readout": ["signed", "fixed"], "data.kind": ["hierarchical", "staircase"], "seed": [0, 1]}
    found = faults({"kind": "sweep", "spec": {"grid": grid}})
    assert 'model.readout "fixed", data.kind "staircase"' in found["/spec/grid"]


@pytest.mark.parametrize("kind", ["staircase", "parity", "multi_index", "random_hierarchy"])
@pytest.mark.parametrize("study", ["correction", "duel", "information_gap"])
def test_every_target_has_a_learner_and_read_outs_by_default(kind: str, study: str) -> None:
    body = {"kind": "study", "spec": {"kind": study, "base": {"data": {"kind": kind}}}}
    assert studies.members(specs.parse_job(body).spec)
    assert specs.parse_job(train(data={"kind": kind}))


def test_fresh_samples_take_twenty_seeds_where_nothing_is_said() -> None:
    def seeds(kind: str, **said: int) -> int:
        base = {"data": {"kind": "hierarchical", "samples": "fresh"}}
        return specs.load("study", {"kind": kind, "base": base, **said}).seeds

    assert [seeds("correction"), seeds("information_gap"), seeds("duel")] == [20, 20, 9]
    assert seeds("correction", seeds=5) == 5


@pytest.mark.parametrize("groups", [[1], [2, 2], [1, 1, 1], [1] * 5])
def test_the_widths_of_a_wide_resnet_follow_its_groups(groups: list[int]) -> None:
    spec = {"data": {"kind": "cifar10", "dataset": "ds_0123456789abcdef"}}
    model = {"kind": "wide_resnet", "groups": groups}
    job = specs.parse_job({"kind": "train", "spec": {**spec, "model": model}})
    assert job.spec.model.widths == tuple(16 * 2**i for i in range(len(groups)))
    assert specs.estimate(job.spec).parameters > 0


def test_of_very_many_faults_the_first_are_told_and_the_rest_counted() -> None:
    body = {"kind": "train", "spec": {f"k{i}": 1 for i in range(5000)}}
    with pytest.raises(specs.SpecError) as refused:
        specs.parse_job(body)
    *told, last = refused.value.faults
    assert [fault.pointer for fault in told] == [f"/spec/k{i}" for i in range(200)]
    assert (last.pointer, last.detail) == ("", "4,800 more faults like these are not listed")
