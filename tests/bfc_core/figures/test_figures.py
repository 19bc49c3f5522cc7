"""Every figure draws, in both themes, from whatever a study left behind; and what it shows is what the tables hold."""

from __future__ import annotations

import json
from typing import Any

import pytest
import vl_convert

from bfc_core import figures, specs, studies
from bfc_core.figures.theme import THEMES, decades

CORRECTION = {"kind": "correction", "seeds": 9}
EVERY = [
    (kind, one["name"])
    for kind in ("correction", "duel", "information_gap", "sweep", "train")
    for one in figures.names(kind)
]


def outcome_of(kind: str, simulate: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    if kind == "train":
        spec: Any = specs.load("study", {**CORRECTION, "seeds": 1})
        first = next(iter(simulate(spec).values()))
        return dict(first.tables), dict(first.summary)
    if kind == "sweep":
        spec = specs.load("sweep", {"base": {}, "grid": {"seed": [0, 1]}})
    elif kind == "duel":
        spec = specs.load("study", {"kind": "duel", "against": ["kernel_ridge/rbf", "mlp/relu"]})
    else:
        spec = specs.load("study", {"kind": kind, "seeds": 9})
    outcomes = simulate(spec) if kind in ("correction", "duel") else {}
    result = studies.conclude(spec, outcomes)
    return {name: table.json() for name, table in result.tables.items()}, result.summary


@pytest.fixture(scope="module")
def made() -> dict[str, Any]:
    return {}


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_a_figure_renders_in_both_themes(kind, name, theme, simulate, made):
    if kind not in made:
        made[kind] = outcome_of(kind, simulate)
    drawn = figures.draw(name, *made[kind], theme=theme)
    json.dumps(drawn, allow_nan=False)
    assert drawn["config"]["background"] == THEMES[theme].ground
    svg = vl_convert.vegalite_to_svg(drawn)
    assert svg.startswith("<svg")
    assert drawn["title"]["text"] in svg
    assert "NaN" not in svg
    assert "Infinity" not in svg


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_a_figure_of_nothing_says_why(kind, name):
    drawn = figures.draw(name, {}, {})
    assert drawn["title"]["subtitle"]
    vl_convert.vegalite_to_vega(drawn)


@pytest.mark.parametrize("lost", ["signed/", "/joint/", "/0"])
def test_figures_draw_with_members_missing(lost, simulate):
    spec = specs.load("study", CORRECTION)
    outcomes = {key: one for key, one in simulate(spec).items() if lost not in key}
    result = studies.conclude(spec, outcomes)
    for one in figures.names("correction"):
        vl_convert.vegalite_to_vega(figures.draw(one["name"], result.tables, result.summary))


def test_captions_carry_n_stuck_runs_rule_and_verdict(simulate):
    spec = specs.load("study", CORRECTION)
    result = studies.conclude(spec, simulate(spec))
    said = " ".join(
        figures.draw("correction_is_backward", result.tables, result.summary)["title"]["subtitle"]
    )
    assert "n = 9 seeds" in said
    assert "order statistics 2 and 8" in said
    assert "Stuck runs (hollow): 18 of 54" in said
    assert "correction is backward (signed, level 2): supported" in said


def test_few_seeds_have_no_band_and_the_caption_says_so(simulate):
    spec = specs.load("study", {**CORRECTION, "seeds": 4})
    result = studies.conclude(spec, simulate(spec))
    drawn = figures.draw("correction_is_backward", result.tables, result.summary)
    assert all(row["low"] is None for row in drawn["datasets"]["medians"])
    assert "too few seeds" in " ".join(drawn["title"]["subtitle"])


def test_medians_rank_lost_seeds_worst(simulate):
    spec = specs.load("study", {**CORRECTION, "readouts": ["signed"]})
    outcomes = {k: o for k, o in simulate(spec).items() if "/joint/" not in k or int(k[-1]) > 4}
    result = studies.conclude(spec, outcomes)
    drawn = figures.draw("correction_is_backward", result.tables, result.summary)
    last = [
        r for r in drawn["datasets"]["medians"] if r["arm"] == "joint from the start" and r["step"] == 2000
    ]
    assert {row["median"] for row in last} == {1.0}


def test_marks_on_the_heat_map_are_the_verdicts(simulate):
    spec = specs.load("study", {**CORRECTION, "base": {"data": {"kind": "hierarchical", "levels": 4}}})
    result = studies.conclude(spec, simulate(spec))
    cells = figures.draw("how_deep", result.tables, result.summary)["datasets"]["cells"]
    assert {(c["level"], c["free"], c["mark"]) for c in cells} == {
        (2, 0, ""), (2, 1, "tick"), (3, 0, ""), (3, 1, "tick"), (3, 2, "tick"),
    }  # fmt: skip


def test_the_frontier_is_drawn_without_windows_too(simulate):
    spec = specs.load("study", {**CORRECTION, "how_deep": False, "penalties": [0.1], "second_rates": [0.03]})
    result = studies.conclude(spec, simulate(spec))
    drawn = figures.draw("how_much", result.tables, result.summary)
    ways = {(row["way"], row["label"]) for row in drawn["datasets"]["ways"]}
    assert ways == {("penalty", "μ 0.1"), ("penalty", "μ 0"), ("rate", "rate 0.03"), ("rate", "")}
    assert "nothing to draw" not in vl_convert.vegalite_to_svg(drawn)


def test_labels_hold_only_what_common_fonts_hold(simulate, made):
    """One sign that is lacking makes a renderer fall back on another font for the whole label."""
    allowed = set("−·λμ×≤…") | {chr(code) for code in range(32, 127)}
    for kind, name in EVERY:
        if kind not in made:
            made[kind] = outcome_of(kind, simulate)
        drawn = figures.draw(name, *made[kind])
        written = json.dumps({**drawn, "datasets": {}}, ensure_ascii=False)
        assert not set(written) - allowed, name


def test_intervals_beyond_an_edge_are_not_drawn_as_whole_bars(simulate):
    spec = specs.load("study", {**CORRECTION, "readouts": ["signed"]})
    lost = {k: o for k, o in simulate(spec).items() if "/joint/" not in k}
    result = studies.conclude(spec, lost)
    rows = figures.draw("claims", result.tables, result.summary)["datasets"]["rows"]
    worst = next(row for row in rows if row["label"].endswith("error of joint training"))
    assert (worst["low_beyond"], worst["high_beyond"]) == ("minus", "minus")
    few = studies.conclude(specs.load("study", {**CORRECTION, "seeds": 2}), {})
    rows = figures.draw("claims", few.tables, few.summary)["datasets"]["rows"]
    assert {row["low_beyond"] for row in rows} == {""}


def test_decades_bracket_the_values():
    assert decades([3e-4, 0.2], 1e-8, 1.0) == pytest.approx([1e-4, 1e-3, 1e-2, 1e-1, 1])
    assert decades([], 1e-8)[0] < decades([], 1e-8)[-1]
    assert decades([5.0], 1e-8, 1.0)[-1] >= 1


def test_unknown_names_and_themes_are_refused():
    with pytest.raises(LookupError, match="how_deep"):
        figures.draw("how_dep", {}, {})
    with pytest.raises(ValueError, match="dark"):
        figures.draw("how_deep", {}, {}, theme="sepia")
    assert figures.names("baseline") == []


def test_a_map_of_similarities_is_whole_and_shows_the_start_and_the_last_two_moments():
    columns = [{"name": n, "type": "number"} for n in ("stage", "step", "key", "layer", "value")]
    pairs = [(2, 3, 0.5), (2, 4, 0.25), (3, 4, 0.75)]
    rows = [[1, step, f"cka/{b}", a, value] for step in (0, 10, 20, 30) for a, b, value in pairs]
    rows.append([1, 30, "cka", 2, 0.9])
    drawn = figures.draw("similarity", {"boundaries": {"columns": columns, "rows": rows}}, {})
    cells = drawn["datasets"]["cells"]
    assert sorted({cell["step"] for cell in cells}) == [0, 20, 30]
    now = {(c["row"], c["column"]): c["value"] for c in cells if c["step"] == 30}
    assert len(now) == 9
    assert now[2, 4] == now[4, 2] == 0.25
    assert now[3, 3] == 1
    vl_convert.vegalite_to_vega(drawn)


def test_a_figure_that_the_study_did_not_ask_for_is_not_listed() -> None:
    def listed(spec: dict[str, Any] | None) -> bool:
        asked = None if spec is None else {"base": {"data": {"kind": "hierarchical"}}, **spec}
        return "sliding" in {one["name"] for one in figures.names("correction", asked)}

    assert [listed(None), listed({"sliding": [2]}), listed({"sliding": []}), listed({})] == [True, True, False, False]


def test_a_training_lists_pictures_and_similarities_only_where_its_probes_make_them() -> None:
    def listed(*probes: dict[str, Any]) -> list[str]:
        return [one["name"] for one in figures.names("train", {"probes": list(probes)})]

    assert listed({"kind": "feature_error"}) == ["curves"]
    assert listed({"kind": "pictures"}) == ["curves", "pictures"]
    assert listed({"kind": "cka", "against": "initial"}) == ["curves"]
    assert listed({"kind": "cka", "against": "layers"}) == ["curves", "similarity"]


def test_a_series_of_one_step_is_a_dot_and_gives_way_to_curves() -> None:
    columns = [{"name": n, "type": "number"} for n in ("key", "layer", "step", "value")]
    once = [[f"linear_accuracy_initial_{i}", None, 0, 0.5] for i in range(12)]
    curve = [["test_error", None, step, 1.0 / (1 + step)] for step in range(3)]

    def drawn(rows: list[Any]) -> tuple[set[str], str]:
        made = figures.draw("curves", {"curves": {"columns": columns, "rows": rows}}, {})
        vl_convert.vegalite_to_vega(made)
        return {row["panel"] for row in made["datasets"]["points"]}, " ".join(made["title"]["subtitle"])

    panels, words = drawn([*once, *curve])
    assert panels == {"Test error"}
    assert "Not drawn: 12 series of one step alone." in words
    panels, words = drawn(once[:2])
    assert len(panels) == 2
    assert "Not drawn" not in words
    lone = figures.draw("curves", {"curves": {"columns": columns, "rows": once[:1]}}, {})
    scene = vl_convert.vegalite_to_svg(lone)
    assert 'role="graphics-symbol"' in scene or "mark-symbol" in scene


def test_of_pictures_how_much_shows_the_gain_in_points_of_accuracy() -> None:
    told = "train_up_to free control readout seed relative_test_error test_accuracy lambda_1 stuck state"
    names = told.split()
    rows = [[1, free, "none", "own", seed, None, accuracy, 0.2, None, "succeeded"]
            for seed in range(3) for free, accuracy in ((0, 0.5), (1, 0.625))]  # fmt: skip
    columns = [{"name": name, "type": "number"} for name in names]
    drawn = figures.draw("how_much", {"how_deep": {"columns": columns, "rows": rows}}, {"seeds": 3, "claims": []})
    vl_convert.vegalite_to_vega(drawn)
    assert {row["gain"] for row in drawn["datasets"]["points"]} == {12.5}
    assert "points of accuracy" in str(drawn["vconcat"])


def test_directions_of_a_teacher_are_listed_only_where_there_is_a_teacher() -> None:
    def listed(kind: str) -> bool:
        spec = {"base": {"data": {"kind": kind}}}
        return "which_part" in {one["name"] for one in figures.names("correction", spec)}

    assert [listed("hierarchical"), listed("cifar10"), listed("images")] == [True, False, False]
