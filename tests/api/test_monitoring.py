"""The dashboard and the alert rules name only metrics and labels that the server has."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.api.works import Works

FOLDER = Path(__file__).parents[2] / "monitoring"
#: metrics and labels that Prometheus itself adds to what it scrapes
ADDED = {"up"}
ADDED_LABELS = {"job", "instance", "le"}
_NAME = re.compile(r"\b(?:bfc|process|up)(?:_[a-z_]+)?\b(?=[{\[\s)]|$)")
_SELECTOR = re.compile(r"([a-z_]+)\{([^}]*)\}")
_BY = re.compile(r"\bby \(([^)]*)\)")


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((FOLDER / "dashboard.json").read_text())["panels"]
    return found


def expressions() -> Iterator[tuple[str, str]]:
    for rule in alerts():
        yield rule["alert"], rule["expr"]
    for panel in panels():
        for target in panel["targets"]:
            yield panel["title"], target["expr"]


@pytest.fixture
def told(api: httpx.Client, works: Works) -> dict[str, set[str]]:
    """Every sample's name with the labels it can have, after a little of everything has happened."""
    done = api.post("/v1/jobs", json={"kind": "train", "spec": {}}).json()["id"]
    works.succeed(done)
    assert api.post("/v1/jobs", json={"kind": "train", "spec": {}}).status_code == 201
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(api.get("/metrics").text):
        found.setdefault(family.name, set())
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    # Families that have no sample until something fails.
    for name, labels in {"bfc_renders_total": {"outcome"}, "bfc_webhook_attempts_total": {"outcome"}}.items():
        assert name.removesuffix("_total") in found
        found.setdefault(name, set()).update(labels)
    return found


def test_every_expression_names_metrics_and_labels_that_there_are(told: dict[str, set[str]]) -> None:
    for title, expression in expressions():
        names = set(_NAME.findall(expression))
        assert names, title
        assert names - ADDED <= set(told), (title, names - set(told))
        labels = {part.split("=")[0].strip("!~ ") for _, inner in _SELECTOR.findall(expression) for part in inner.split(",")}
        labels |= {label.strip() for inner in _BY.findall(expression) for label in inner.split(",")}
        known = {label for name in names for label in told.get(name, set())} | ADDED_LABELS
        assert labels <= known, (title, labels - known)


def test_every_metric_of_ours_is_on_the_dashboard(told: dict[str, set[str]]) -> None:
    shown = {name for title, expression in expressions() for name in _NAME.findall(expression)}
    for name in told:
        family = re.sub(r"_(bucket|count|sum|total|created)$", "", name)
        if name.startswith("bfc_"):
            assert any(one.startswith(family) for one in shown), name


def test_every_rule_says_how_bad_it_is_and_what_to_do() -> None:
    for rule in alerts():
        assert rule["labels"]["severity"] in ("critical", "warning", "info")
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["action"]
    assert len({rule["alert"] for rule in alerts()}) == len(alerts())


def test_the_scrape_finds_the_rules_and_the_port() -> None:
    said = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    assert (FOLDER / said["rule_files"][0]).exists()
    assert said["scrape_configs"][0]["static_configs"][0]["targets"] == ["127.0.0.1:8321"]
    assert said["scrape_configs"][0]["job_name"] == "bfc"
