"""The document of metrics against what is counted, and the dashboards against the document."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from daemon.flows.metrics import FlowMetrics, catalogue
from daemon.flows.metrics.options import FLAGS, Context, Handler, Label, Place
from daemon.model import Directory

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "metrics.md").read_text()
ROWS = {
    cells[0].strip("`"): cells
    for line in DOCUMENT.splitlines()
    if line.startswith("| `") and len(cells := [cell.strip() for cell in line.strip("|").split("|")]) >= 5
}
ALTERNATIVES = {catalogue.HTTP_REQUESTS_V1, catalogue.WORLD_PORTS}
"""Other labels under the same name, with other options; the document says so in words."""
SPECS = [one for one in vars(catalogue).values() if isinstance(one, catalogue.Spec) and one not in ALTERNATIVES]


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_a_metric_of_flows_is_documented_with_type_and_labels(spec: catalogue.Spec) -> None:
    _, kind, labels, unit, group, words = ROWS[spec.name]
    assert kind == spec.kind.value
    assert re.findall(r"`(\w+)`", labels) == list(spec.labels)
    assert unit == "seconds" if spec.name.endswith("_seconds") else unit
    assert words.endswith(".")
    assert group == "always on" or set(re.findall(r"`([\w-]+)`", group)) <= {handler.value for handler in Handler}


def test_all_that_flows_tell_by_default_is_documented_and_all_of_the_catalogue_is_told() -> None:
    text = FlowMetrics(Directory()).text().decode()
    told = dict(re.findall(r"^# TYPE (\S+) (\w+)$", text, re.MULTILINE))
    assert told == {spec.name: spec.kind.value for spec in SPECS}


def test_every_word_of_the_setting_is_documented() -> None:
    words = {one.value for kind in (Handler, Context, Place) for one in kind}
    words |= {flag.value for flags in FLAGS.values() for flag in flags}
    parts = {label.value.removeprefix("source_").removeprefix("destination_") for label in Label}
    assert {word for word in words | parts if f"`{word}`" not in DOCUMENT} == set()


@pytest.mark.parametrize("path", sorted((ROOT / "deploy").glob("*/*.*")), ids=lambda path: path.name)
def test_dashboards_and_rules_ask_only_for_metrics_that_are_documented(path: Path) -> None:
    text = path.read_text()
    if path.suffix == ".json":
        panels = json.loads(text)["panels"]
        text = "\n".join(target["expr"] for panel in panels for target in panel.get("targets", ()))
    known = {name + end for name in ROWS for end in ("", "_bucket", "_count", "_sum")}
    asked = set(re.findall(r"\b((?:hubble|remora|kubeproxy|grpc_server|process)_[a-z_]+)\b(?!\()", text))
    assert asked
    assert asked <= known


def test_panels_lie_beside_each_other_and_dashboards_have_names_of_their_own() -> None:
    found = [json.loads(path.read_text()) for path in (ROOT / "deploy" / "grafana").glob("*.json")]
    assert len({one["uid"] for one in found}) == len({one["title"] for one in found}) == len(found) >= 4
    for dashboard in found:
        taken = set()
        for place in (panel["gridPos"] for panel in dashboard["panels"]):
            cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
            assert not cells & taken
            assert place["x"] + place["w"] <= 24
            taken |= cells
        assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
