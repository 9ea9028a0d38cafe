"""The manifests are what the API takes, and ask for no more than the agent needs."""

from __future__ import annotations

import importlib
import json
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from daemon.connectivity import cluster_objects
from daemon.connectivity.cluster import AGENTS
from daemon.connectivity.objects import PODS
from daemon.settings import Settings
from daemon.settings_file import parse
from daemon.sources.kubernetes.resources import RESOURCES
from ebpf.capabilities import AGENT

FOLDER = Path(__file__).parents[2] / "deploy" / "kubernetes"
MODELS = {
    "v1": "core_v1",
    "apiextensions.k8s.io/v1": "apiextensions_v1",
    "apps/v1": "apps_v1",
    "rbac.authorization.k8s.io/v1": "rbac_v1",
    "networking.k8s.io/v1": "networking_v1",
}
POLICIES = {
    ("networking.k8s.io", "networkpolicies"),
    ("policy.networking.k8s.io", "clusternetworkpolicies"),
}
MONITORS = "monitoring.coreos.com/v1"  # the operator's own kinds, of which no schema is kept
Document = dict[str, Any]


def documents(path: Path) -> list[Document]:
    return [one for one in yaml.safe_load_all(path.read_text()) if one]


def manifests() -> Iterator[tuple[str, Document]]:
    """Whole objects as they are written, without patches."""
    for path in sorted(FOLDER.glob("*/*.yaml")):
        if path.name not in ("kustomization.yaml", "config.yaml", "probes.yaml"):
            yield from ((f"{path.parent.name}/{path.name} {one['kind']}", one) for one in documents(path))


def rendered(overlay: str) -> list[Document]:
    """What kubectl makes of an overlay."""
    if not shutil.which("kubectl"):
        pytest.skip("kubectl is not installed")
    argv = ["kubectl", "kustomize", "--load-restrictor", "LoadRestrictionsNone", str(FOLDER / overlay)]
    return list(yaml.safe_load_all(subprocess.run(argv, capture_output=True, check=True, text=True).stdout))


def check(document: Document) -> None:
    """Hold an object against the API's schema; raises ValidationError, also for a field that the API has not."""
    module = importlib.import_module(f"lightkube.models.{MODELS[document['apiVersion']]}")
    model = getattr(module, document["kind"])
    found = msgspec.convert(document, model)
    unknown = list(strangers(document, found, document["kind"]))
    if unknown:
        raise msgspec.ValidationError(f"unknown fields: {', '.join(unknown)}")


def strangers(document: Any, found: Any, where: str) -> Iterator[str]:
    if isinstance(found, msgspec.Struct):
        names = {one.encode_name: one.name for one in msgspec.structs.fields(found)}
        for key, value in document.items():
            if key in names:
                yield from strangers(value, getattr(found, names[key]), f"{where}.{key}")
            else:
                yield f"{where}.{key}"
    elif isinstance(found, list):
        for index, (one, made) in enumerate(zip(document, found, strict=True)):
            yield from strangers(one, made, f"{where}[{index}]")


WRITTEN = dict(manifests())
DAEMON_SET = WRITTEN["base/daemonset.yaml DaemonSet"]
POD = DAEMON_SET["spec"]["template"]["spec"]


@pytest.mark.parametrize("name", [name for name, one in WRITTEN.items() if one["apiVersion"] != MONITORS])
def test_a_manifest_is_what_the_api_takes(name: str) -> None:
    check(WRITTEN[name])


@pytest.mark.parametrize("overlay", ["base", "kube-proxy-replacement", "monitoring"])
def test_an_overlay_is_what_the_api_takes(overlay: str) -> None:
    for one in rendered(overlay):
        if one["apiVersion"] != MONITORS:
            check(one)


@pytest.mark.parametrize(
    ("path", "value"),
    [("spec.template.spec.hostNetwrk", True), ("spec.updateStrategy", []), ("spec.template.spec.hostPID", "yes")],
)
def test_the_check_finds_a_mistake(path: str, value: Any) -> None:
    wrong: Document = json.loads(json.dumps(DAEMON_SET))
    *folders, last = path.split(".")
    place = wrong
    for one in folders:
        place = place[one]
    place[last] = value
    with pytest.raises(msgspec.ValidationError):
        check(wrong)


def test_the_objects_of_the_connectivity_test_are_what_the_api_takes() -> None:
    check(cluster_objects.namespace())
    check(cluster_objects.policy())
    for one in (*cluster_objects.services(), *(cluster_objects.pod(name, "n", "i", "10.96.0.1") for name in PODS)):
        check(one)


def test_the_connectivity_test_finds_the_agents_pod_and_what_is_in_its_image() -> None:
    key, _, value = AGENTS.partition("=")
    assert DAEMON_SET["spec"]["template"]["metadata"]["labels"][key] == value
    (container,) = cluster_objects.pod("client", "n", "i", "10.96.0.1")["spec"]["containers"]
    command = (FOLDER.parent / "container" / "remora").read_text()
    assert all(word in command for word in (*container["command"][:3], container["env"][0]["value"]))


def test_the_agent_may_read_what_it_asks_for_and_nothing_else() -> None:
    asked = {(one.path.split("/")[2] if one.path.startswith("/apis/") else "", one.name) for one in RESOURCES}
    rules = WRITTEN["base/rbac.yaml ClusterRole"]["rules"]
    assert all(rule["verbs"] == ["list", "watch"] for rule in rules)
    assert all(set(rule) == {"apiGroups", "resources", "verbs"} for rule in rules)
    allowed = [(group, one) for rule in rules for group in rule["apiGroups"] for one in rule["resources"]]
    assert len(allowed) == len(set(allowed))
    assert set(allowed) == asked | POLICIES


def test_the_pod_has_the_capabilities_that_the_agent_keeps() -> None:
    (agent,) = POD["containers"]
    context = agent["securityContext"]
    assert context["capabilities"]["drop"] == ["ALL"]
    assert set(context["capabilities"]["add"]) == {one.name for one in AGENT}
    assert "privileged" not in context


@pytest.mark.parametrize("overlay", ["base", "kube-proxy-replacement"])
def test_the_settings_are_the_agents_and_the_probes_ask_the_port_in_them(overlay: str) -> None:
    settings = parse((FOLDER / overlay / "config.yaml").read_text(), overlay)
    assert (settings.source, settings.node_name) == ("kubernetes", "")
    (daemon_set,) = (one for one in rendered(overlay) if one["kind"] == "DaemonSet")
    (agent,) = daemon_set["spec"]["template"]["spec"]["containers"]
    ports = {agent[probe]["httpGet"]["port"] for probe in ("startupProbe", "readinessProbe", "livenessProbe")}
    assert ports == {int(settings.healthz_address.rpartition(":")[2])}
    assert [one["containerPort"] for one in agent["ports"]] == [int(settings.metrics_address.rpartition(":")[2])]


def test_the_agent_finds_in_the_pod_what_its_settings_name() -> None:
    (agent,) = POD["containers"]
    mounts = {one["mountPath"]: one["name"] for one in agent["volumeMounts"]}
    assert mounts.keys() - {"/tmp"} >= {"/run/netns", "/sys/fs/cgroup", Settings().state_dir, "/etc/remora"}
    assert str(Path(Settings().bpffs).parent) in mounts
    assert {one["name"] for one in POD["volumes"]} == set(mounts.values())
    assert {"name": "REMORA_NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}} in agent["env"]


def test_the_image_is_of_this_version() -> None:
    version = tomllib.loads((FOLDER.parents[1] / "pyproject.toml").read_text())["project"]["version"]
    (image,) = documents(FOLDER / "base" / "kustomization.yaml")[0]["images"]
    assert (image["name"], image["newTag"]) == (POD["containers"][0]["image"], version)


def test_prometheus_finds_the_agents() -> None:
    monitor = WRITTEN["monitoring/monitoring.yaml ServiceMonitor"]["spec"]
    service = WRITTEN["monitoring/monitoring.yaml Service"]
    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert [one["port"] for one in monitor["endpoints"]] == [one["name"] for one in service["spec"]["ports"]]
    assert service["spec"]["selector"].items() <= DAEMON_SET["spec"]["template"]["metadata"]["labels"].items()


def test_every_dashboard_is_handed_over() -> None:
    (dashboards,) = documents(FOLDER / "monitoring" / "kustomization.yaml")[0]["configMapGenerator"]
    folder = FOLDER.parent / "grafana"
    assert {Path(name).name for name in dashboards["files"]} == {one.name for one in folder.glob("*.json")}
