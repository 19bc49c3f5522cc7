"""Similarity and probes between stored snapshots."""

from __future__ import annotations

from typing import Any

import httpx
import numpy as np
import pytest

from tests.api.works import Works

N = 60


def features(seed: int) -> dict[str, Any]:
    draws = np.random.default_rng(seed)
    return {
        "z2": draws.normal(size=(N, 5)).astype(np.float32),
        "z3": draws.normal(size=(N, 8)).astype(np.float32),
    }


@pytest.fixture
def kept(api: httpx.Client, works: Works) -> dict[str, str]:
    """Snapshots: `a`; `turned` and `gram` are the same, rotated and as Gram matrices; `b`, `elsewhere` differ."""
    job = api.post("/v1/jobs", json={"kind": "train", "spec": {}}).json()["id"]
    one = works.claimed(job)
    inputs = np.arange(N, dtype=np.float32)[:, None]
    a, b = features(1), features(2)
    rotation, _ = np.linalg.qr(np.random.default_rng(3).normal(size=(5, 5)))
    turned = {"z2": 3 * a["z2"].astype(np.float64) @ rotation, "z3": a["z3"]}
    gram = {"gram/2": a["z2"] @ a["z2"].T, "features/3": a["z3"]}
    labels = (a["z2"][:, 0] > 0).astype(np.int64)
    return {
        "a": works.snapshot(one, "features", 1, u=inputs, **a),
        "turned": works.snapshot(one, "features", 2, u=inputs, **turned),
        "b": works.snapshot(one, "features", 3, u=inputs, **b),
        "elsewhere": works.snapshot(one, "features", 4, u=inputs + 1, **b),
        "gram": works.snapshot(one, "features", 5, u=inputs, labels=labels, **gram),
        "few": works.snapshot(one, "features", 6, z2=a["z2"][:10]),
        "weights": works.snapshot(one, "weights", 7, w=inputs),
    }


def ask(api: httpx.Client, *ids: str, kind: str = "cka", **more: Any) -> list[dict[str, Any]]:
    reply = api.post("/v1/compare", json={"snapshots": ids, "probe": {"kind": kind}, **more})
    assert reply.status_code == 200, reply.text
    return list(reply.json()["items"])


@pytest.mark.parametrize("kind", ["cka", "cka_biased", "cca", "procrustes", "svcca"])
def test_a_rotation_changes_no_similarity(api: httpx.Client, kept: dict[str, str], kind: str) -> None:
    (item,) = ask(api, kept["a"], kept["turned"], kind=kind)
    assert item["rows"] == item["columns"] == ["2", "3"]
    assert item["values"][0][0] == pytest.approx(1.0, abs=1e-5)
    assert item["values"][1][1] == pytest.approx(1.0, abs=1e-5)
    assert abs(item["values"][0][1]) < 0.9


def test_gram_matrices_answer_like_the_features_they_are_of(api: httpx.Client, kept: dict[str, str]) -> None:
    for kind in ("cka", "procrustes"):
        (plain,) = ask(api, kept["a"], kept["b"], kind=kind)
        (gram,) = ask(api, kept["gram"], kept["b"], kind=kind)
        assert np.allclose(plain["values"], gram["values"], atol=1e-4)


def test_directed_probes_go_both_ways_and_labels_are_probed(api: httpx.Client, kept: dict[str, str]) -> None:
    items = ask(api, kept["a"], kept["turned"], kind="ridge")
    assert [(item["first"], item["second"]) for item in items] == [
        (kept["a"], kept["turned"]),
        (kept["turned"], kept["a"]),
    ]
    assert items[0]["values"][0][0] < 0.01 < items[0]["values"][0][1]
    (probed,) = ask(api, kept["gram"], kind="linear")
    assert probed["columns"] == ["accuracy"]
    assert probed["values"][0][0] > 0.8


def test_layers_narrow_it_and_one_alone_is_compared_with_itself(
    api: httpx.Client, kept: dict[str, str]
) -> None:
    (item,) = ask(api, kept["a"], layers=["3"])
    assert (item["rows"], item["values"]) == (["3"], [[pytest.approx(1.0)]])


def test_layers_asked_for_in_another_order_answer_in_it(api: httpx.Client, kept: dict[str, str]) -> None:
    (plain,) = ask(api, kept["a"], kept["b"])
    (turned,) = ask(api, kept["a"], kept["b"], layers=["3", "2"])
    assert turned["rows"] == turned["columns"] == ["3", "2"]
    assert turned["values"] == [row[::-1] for row in plain["values"][::-1]]


@pytest.mark.parametrize(
    ("names", "more", "pointer"),
    [
        (("a", "elsewhere"), {}, "/snapshots/1"),
        (("a", "few"), {}, "/snapshots/1"),
        (("a", "weights"), {}, "/snapshots/1"),
        (("a",), {"probe": {"kind": "linear"}}, "/snapshots/0"),
        (("a",), {"layers": ["9"]}, "/layers"),
        (("a",), {"probe": {"kind": "ckaa"}}, "/probe/kind"),
        (("a",), {"measure": "cka"}, "/measure"),
    ],
)
def test_what_cannot_be_compared_is_pointed_at(
    api: httpx.Client, kept: dict[str, str], names: tuple[str, ...], more: dict[str, Any], pointer: str
) -> None:
    reply = api.post("/v1/compare", json={"snapshots": [kept[name] for name in names], **more})
    assert reply.status_code == 422
    assert reply.json()["errors"][0]["pointer"] == pointer


def test_undefined_is_told_with_its_reason(api: httpx.Client, works: Works) -> None:
    job = api.post("/v1/jobs", json={"kind": "train", "spec": {}}).json()["id"]
    flat = works.snapshot(works.claimed(job), "features", z2=np.ones((N, 3), np.float32))
    (item,) = ask(api, flat)
    assert item["values"] == [[None]]
    assert item["undefined"][0]["reason"]
