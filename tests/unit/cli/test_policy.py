"""`remora policy`: what it asks, what it prints within 100 columns, with which code it ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from daemon.cli.errors import UsageError
from daemon.cli.policy import covered, detail, explanation, listing, target
from daemon.proto import remora_pb2 as pb
from tests.unit.api.shop import FakeView
from tests.unit.cli.conftest import Remora

WIDTH = 100
LONG = [f"pods app=a-rather-long-name-{number} in a-namespace-with-a-name" for number in range(6)]
RULE = pb.PolicyRule(direction="ingress", number=1, action="Allow", peers=LONG, ports=["80/TCP"], hits=1234, bound=True)
POLICY = pb.NetworkPolicy(
    kind="NetworkPolicy",
    namespace="shop",
    name="db",
    isolates=["ingress"],
    workloads=[f"shop/db-{number}-6d4cf56db6-abcde" for number in range(9)],
    rules=[RULE, pb.PolicyRule(direction="ingress", number=2, action="Allow", peers=["everyone"])],
)
SIDE = pb.PolicySide(
    direction="ingress",
    party="shop/db",
    address="10.0.0.2",
    verdict="denied",
    words="ingress: denied, isolated by shop/db, shop/other and no rule allows it; nearest: peer matched, port 1/TCP",
    misses=["peer matched, port 1/TCP", "peer matched, port 1/TCP not in rule 2 of shop/db"],
    live="allowed by ingress rule 1 of shop/db",
)


def test_the_list_and_one_policy_fit_the_terminal() -> None:
    for text in (listing([POLICY] * 2), detail(POLICY)):
        assert max(map(len, text.splitlines())) <= WIDTH
    assert "1,234" in listing([POLICY])
    assert "ingress 2" in detail(POLICY)


def test_an_explanation_tells_both_ends_and_that_the_kernel_differs() -> None:
    answer = pb.ExplainPolicyResponse(sides=[SIDE], differs=True, notes=["world was asked with 203.0.113.1"])
    text = explanation(answer, "world to db, 1/TCP")
    assert text.startswith("world to db, 1/TCP: denied\n")
    assert text.count("near: peer matched") == 1, "the nearest is in the sentence already"
    assert "kernel: allowed by" in text
    assert "THE KERNEL DIFFERS" in text
    assert max(map(len, text.splitlines())) <= WIDTH


def test_coverage_names_what_is_open_and_rules_without_hits() -> None:
    workloads = [
        pb.PolicyWorkload(namespace="shop", name="db", ingress=["shop/db"], egress=["shop/db"]),
        pb.PolicyWorkload(namespace="shop", name="web", ingress=["shop/db"]),
    ]
    text = covered(pb.ListPoliciesResponse(policies=[POLICY], workloads=workloads))
    assert "1 of 2 workloads here are isolated both ways" in text
    assert "shop/web" in text
    assert "1 rules decided nothing" in text


@pytest.mark.parametrize(
    ("place", "wanted"),
    [("80", (80, "TCP")), ("53/udp", (53, "UDP")), ("ICMP", (0, "ICMP")), ("icmpv6", (0, "ICMPV6"))],
)
def test_a_port_is_read(place: str, wanted: tuple[int, str]) -> None:
    assert target(place) == wanted


@pytest.mark.parametrize("place", ["http", "0/TCP", "70000/TCP", "80/XYZ", ""])
def test_what_is_no_port_is_refused(place: str) -> None:
    with pytest.raises(UsageError, match="for example 5432/TCP"):
        target(place)


@pytest.mark.usefixtures("server")
def test_an_agent_is_asked_and_its_errors_are_told(view: FakeView, remora: Remora) -> None:
    view.enforced = pb.ListPoliciesResponse(policies=[POLICY])
    code, out, _ = remora("policy", "list", "-o", "json")
    assert (code, json.loads(out)["policies"][0]["name"]) == (0, "db")
    assert remora("policy", "get", "db")[0] == 0
    code, _, error = remora("policy", "get", "absent")
    assert (code, "`remora policy list` names them" in error) == (1, True)
    code, _, error = remora("policy", "explain", "--from", "nobody", "--to", "db", "--port", "80")
    assert (code, "`remora endpoint list` names them" in error) == (1, True)
    view.policy_answer = pb.ExplainPolicyResponse(differs=True)
    assert remora("policy", "explain", "--from", "a", "--to", "db", "--port", "80", "--live")[0] == 1


FLOW = {
    "verdict": "FORWARDED",
    "IP": {"source": "10.0.0.1", "destination": "10.0.0.2", "ipVersion": "IPv4"},
    "l4": {"TCP": {"source_port": 40000, "destination_port": 80}},
    "is_reply": False,
    "source": {"namespace": "shop", "pod_name": "web", "labels": ["k8s:app=web"]},
    "destination": {"namespace": "shop", "pod_name": "db", "labels": ["k8s:app=db"]},
}


def test_a_recording_is_judged_without_an_agent(tmp_path: Path, remora: Remora) -> None:
    recording, candidate = tmp_path / "flows.jsonl", tmp_path / "candidate.yaml"
    recording.write_text(json.dumps({"flow": FLOW}) + "\n")
    code, suggested, _ = remora("policy", "suggest", "-n", "shop", "--input", str(recording))
    assert code == 0
    candidate.write_text(suggested)
    code, out, _ = remora("policy", "test", "-f", str(candidate), "--input", str(recording))
    assert (code, "nothing would change" in out) == (0, True)
    candidate.write_text(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p, namespace: shop}\n"
        "spec: {podSelector: {matchLabels: {app: db}}}\n"
    )
    code, out, _ = remora("policy", "test", "-f", str(candidate), "--input", str(recording))
    assert (code, "ingress isolation by shop/p" in out) == (1, True)


def test_what_cannot_be_read_is_named(tmp_path: Path, remora: Remora) -> None:
    recording = tmp_path / "flows.jsonl"
    recording.write_text("")
    assert "absent.yaml" in remora("policy", "test", "-f", "absent.yaml", "--input", str(recording))[2]
    assert "absent.jsonl" in remora("policy", "suggest", "-n", "shop", "--input", "absent.jsonl")[2]
    assert "no flows of shop were seen" in remora("policy", "suggest", "-n", "shop", "--input", str(recording))[2]
