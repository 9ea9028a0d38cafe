"""The definition of Shields for the API server, and the examples, against what the agent reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import re2
import yaml

from daemon.model.shields import SHIELD_VERSION, Shield, ShieldSpec
from daemon.sources.decode import read_manifest

ROOT = Path(__file__).parents[2]
DEFINITION = yaml.safe_load((ROOT / "deploy" / "kubernetes" / "base" / "shields.yaml").read_text())
(VERSION,) = DEFINITION["spec"]["versions"]
SCHEMA = VERSION["schema"]["openAPIV3Schema"]["properties"]["spec"]
SAID = ("type", "enum", "pattern", "minimum", "maximum", "maxItems")
(READ,), COMPONENTS = msgspec.json.schema_components([ShieldSpec])


def resolved(read: dict[str, Any]) -> dict[str, Any]:
    """A field as it is read, without what says that it may be left out."""
    for one in read.get("anyOf", ()):
        if one != {"type": "null"}:
            return resolved(one)
    return COMPONENTS[read["$ref"].rpartition("/")[2]] if "$ref" in read else read


def compare(defined: dict[str, Any], read: dict[str, Any], where: str) -> None:
    read = resolved(read)
    for word in SAID:
        expected, found = read.get(word), defined.get(word)
        if word == "enum" and expected and found:
            expected, found = sorted(expected), sorted(found)
        if word != "type" or "enum" not in read:
            assert found == expected, f"{where}: {word}"
    if "items" in read:
        compare_items(defined["items"], read["items"], where)
    if "properties" in read:
        assert defined.get("properties", {}).keys() == read["properties"].keys(), where
        assert defined.get("required", []) == read.get("required", []), where
        for name, one in read["properties"].items():
            compare(defined["properties"][name], one, f"{where}.{name}")


def compare_items(defined: dict[str, Any], read: dict[str, Any], where: str) -> None:
    if read == {"type": "string"}:
        assert defined["type"] == "string", where  # a CIDR: the definition says roughly what the agent reads closely
    else:
        compare(defined, read, f"{where}[]")


def test_the_definition_says_what_the_agent_reads() -> None:
    compare(SCHEMA, READ, "spec")
    names = DEFINITION["spec"]["names"]
    assert f"{DEFINITION['spec']['group']}/{VERSION['name']}" == SHIELD_VERSION
    assert (names["kind"], DEFINITION["spec"]["scope"]) == (Shield.__name__, "Cluster")
    assert DEFINITION["metadata"]["name"] == f"{names['plural']}.{DEFINITION['spec']['group']}"


STRUCTURAL = {
    *("type", "properties", "additionalProperties", "items", "required", "description", "enum", "format", "pattern"),
    *("minimum", "maximum", "maxItems", "maxLength"),
}


def check_structure(schema: dict[str, Any], where: str) -> None:
    """What an API server asks of a definition: a type everywhere, one way to say a field, patterns of RE2."""
    assert schema.get("type"), where
    assert not set(schema) - STRUCTURAL, where
    assert not {"properties", "additionalProperties"} <= schema.keys(), where
    re2.compile(schema.get("pattern", ""))
    below = {**schema.get("properties", {}), "[]": schema.get("items"), "{}": schema.get("additionalProperties")}
    for name, one in below.items():
        if one is not None:
            check_structure(one, f"{where}.{name}")


def test_the_definition_is_structural() -> None:
    check_structure(VERSION["schema"]["openAPIV3Schema"], "")
    with pytest.raises(AssertionError):
        check_structure({"type": "object", "properties": {"spec": {"items": {"type": "string"}}}}, "")


@pytest.mark.parametrize("name", ["examples/shield.yaml"])
def test_the_examples_are_what_the_agent_reads(name: str) -> None:
    found = read_manifest((ROOT / name).read_text())
    assert [type(one.object) for one in found.objects] == [Shield]
    assert not found.notes


def test_what_the_document_shows_is_what_the_agent_reads() -> None:
    blocks = (ROOT / "docs" / "xdp.md").read_text().split("```yaml\n")[1:]
    shields = [block.partition("```")[0] for block in blocks if "kind: Shield" in block]
    assert shields
    for one in shields:
        assert [type(located.object) for located in read_manifest(one).objects] == [Shield]
