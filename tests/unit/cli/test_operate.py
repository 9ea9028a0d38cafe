"""`remora service get|explain`, `verify` and `preflight`: what they ask, what they print, with which code they end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from daemon.agent.finding import Finding, fail, ok, warn
from daemon.cli import preflight
from daemon.proto import remora_pb2
from tests.unit.api.shop import FakeView
from tests.unit.cli.conftest import Remora

pytestmark = pytest.mark.usefixtures("server")


def balanced() -> remora_pb2.Balanced:
    """Two backends of different states, one endpoint left out."""
    return remora_pb2.Balanced(
        number=7,
        port_name="http",
        protocol="TCP",
        policy="Cluster",
        frontends=[
            remora_pb2.ServiceFrontend(kind="ClusterIP", address="10.96.0.10", port=80, protocol="TCP"),
            remora_pb2.ServiceFrontend(kind="NodePort", address="::", port=30080, protocol="TCP"),
        ],
        backends=[
            remora_pb2.ServiceEndpoint(
                address="10.0.1.2", port=8080, workload="shop/backend-1", state="ready", node="a", connections=1234
            ),
            remora_pb2.ServiceEndpoint(address="fd00::2", port=8080, state="terminating, serving"),
        ],
        others=[remora_pb2.ServiceEndpoint(address="10.0.1.3", port=8080, state="not ready", reasons=["not ready"])],
        lingering=3,
    )


def test_a_service_is_told_closely(remora: Remora, view: FakeView) -> None:
    view.detail.balanced.append(balanced())
    view.detail.affinity_seconds = 600
    code, out, err = remora("service", "get", "backend", "-n", "shop")
    assert (code, err) == (0, "")
    lines = [line.split() for line in out.splitlines()]
    assert ["NodePort", "[::]:30080/TCP"] in lines
    assert ["10.0.1.2:8080", "shop/backend-1", "ready", "a", "-", "1,234"] in lines
    assert ["10.0.1.3:8080", "-", "not", "ready"] in lines
    assert "600 s for a client" in out
    assert "3 connections to backends that have left" in out


def test_a_service_without_backends_says_what_happens_to_connections(remora: Remora, view: FakeView) -> None:
    one = view.detail.balanced.add(port_name="http", protocol="TCP", policy="Local")
    one.frontends.add(kind="ClusterIP", address="10.96.0.10", port=80, protocol="TCP", empty="drop")
    _, out, _ = remora("service", "get", "shop/backend")
    assert "connections are dropped" in out
    assert "no backends" in out


def test_a_service_that_is_not_steered_says_so(remora: Remora) -> None:
    assert "not steered" in remora("service", "get", "backend")[1]


def test_a_service_is_json_for_programs(remora: Remora, view: FakeView) -> None:
    view.detail.balanced.append(balanced())
    told = json.loads(remora("service", "get", "backend", "-o", "json")[1])["services"][0]
    assert told["balanced"][0]["backends"][0]["connections"] == "1234"


def test_an_unknown_service_is_an_error_that_says_where_it_was_looked_for(remora: Remora) -> None:
    code, _, err = remora("service", "get", "nobody", "-n", "shop")
    assert (code, err) == (1, "remora: no Service nobody in namespace shop; `remora service list` names them\n")


def test_a_namespace_given_twice_is_wrong_use(remora: Remora) -> None:
    assert remora("service", "get", "shop/backend", "-n", "shop")[0] == 2


@pytest.mark.parametrize(
    ("place", "asked"),
    [
        ("10.96.0.1:443", ("10.96.0.1", 443, "TCP")),
        ("10.96.0.1:53/udp", ("10.96.0.1", 53, "UDP")),
        ("[fd00:0::1]:53/SCTP", ("fd00::1", 53, "SCTP")),
    ],
)
def test_explain_asks_for_the_address_as_written(
    remora: Remora, view: FakeView, place: str, asked: tuple[str, int, str]
) -> None:
    code, out, _ = remora("service", "explain", place, "--from", "shop/client")
    assert (code, out) == (0, "nothing is there\n")
    assert (view.asked.address, view.asked.port, view.asked.protocol) == asked
    assert view.asked.workload == "shop/client"


@pytest.mark.parametrize(
    "place", ["10.96.0.1", "10.96.0.1:0", "10.96.0.1:65536", "fd00::1:80", "[10.0.0.1]:80", "x:80", "10.0.0.1:80/ICMP"]
)
def test_explain_refuses_what_is_no_address_and_port(remora: Remora, place: str) -> None:
    code, out, err = remora("service", "explain", place)
    assert (code, out) == (2, "")
    assert "ADDRESS:PORT[/PROTOCOL]" in err


def test_explain_shows_who_may_answer_and_why_others_may_not(remora: Remora, view: FakeView) -> None:
    view.explanation.eligible.extend(balanced().backends)
    view.explanation.others.extend(balanced().others)
    view.explanation.notes.append("a client stays")
    _, out, _ = remora("service", "explain", "10.96.0.10:80")
    lines = [line.split() for line in out.splitlines()]
    assert ["ELIGIBLE", "WORKLOAD", "STATE", "NODE", "ZONE"] in lines
    assert ["10.0.1.3:8080", "-", "not", "ready"] in lines
    assert out.endswith("note: a client stays\n")


def test_an_unknown_workload_is_told_in_the_agents_words(remora: Remora) -> None:
    code, _, err = remora("service", "explain", "10.96.0.10:80", "--from", "nobody")
    assert (code, err) == (1, "remora: no workload nobody; `remora endpoint list` names them\n")


def test_verify_ends_with_0_where_everything_agrees(remora: Remora) -> None:
    assert remora("verify") == (0, "the kernel agrees with the objects: 2 frontends and 1 backend slots\n", "")


def test_verify_shows_each_difference_and_ends_with_1(remora: Remora, view: FakeView) -> None:
    for kind, wanted, found in (("missing", "2 backends", ""), ("extra", "", "x"), ("different", "a", "b")):
        view.verified.differences.add(
            kind=kind, map="services", place="10.96.0.1:80/TCP", wanted=wanted, found=found, service="shop/web"
        )
    code, out, _ = remora("verify")
    assert code == 1
    assert [line.split()[0] for line in out.splitlines()[1:]] == ["-", "+", "~"]
    assert "missing, wanted 2 backends" in out
    assert "wanted a, found b" in out
    assert len(json.loads(remora("verify", "-o", "json")[1])["differences"]) == 3


def test_a_map_that_cannot_be_read_is_an_error_and_no_difference(remora: Remora, view: FakeView) -> None:
    view.broken = True
    code, out, err = remora("verify")
    assert (code, out) == (1, "")
    assert "cannot read map services" in err


@pytest.mark.parametrize(("worst", "code"), [(ok, 0), (warn, 0), (fail, 1)])
def test_preflight_fails_only_where_something_is_missing(
    remora: Remora, monkeypatch: pytest.MonkeyPatch, worst: object, code: int
) -> None:
    arguments = ("bpffs", "seen") if worst is ok else ("bpffs", "seen", "mount it")
    findings: list[Finding] = [ok("kernel", "6.12"), worst(*arguments)]  # type: ignore[operator]
    monkeypatch.setattr("daemon.agent.preflight.inspect", lambda settings: findings)
    ended, out, _ = remora("preflight")
    assert ended == code
    assert out.splitlines()[0].split() == ["ok", "kernel", "6.12"]
    assert ("→ mount it" in out) is (worst is not ok)
    told = json.loads(remora("preflight", "-o", "json")[1])
    assert (told["ready"], len(told["findings"])) == (code == 0, 2)


def test_preflight_with_settings_that_cannot_be_read_says_which(remora: Remora, tmp_path: Path) -> None:
    code, _, err = remora("preflight", "--config", str(tmp_path / "none.yaml"))
    assert code == 1
    assert "none.yaml" in err


def test_nothing_lines_up_with_nothing() -> None:
    assert preflight.render([]) == ""
