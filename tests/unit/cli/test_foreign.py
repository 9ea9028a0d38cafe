"""The command line against a server of the observer API that is not ours: what it asks, and how it tells the answers.

Run with REMORA_GOLDEN=write to write the golden files anew, and read the difference before keeping it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import json_format
from google.protobuf.timestamp_pb2 import Timestamp

from daemon.cli import jsonpb
from daemon.cli.rawfilters import FORGOTTEN, SHOWN
from daemon.proto import flow_pb2, health_pb2, observer_pb2, peer_pb2, relay_pb2
from tests.support.certificates import Authority, Pair
from tests.support.observers import Foreign, answering
from tests.unit.cli.conftest import Remora
from tests.unit.cli.samples import ITEMS

GOLDEN = Path(__file__).parents[2] / "golden"


@pytest.fixture
def foreign(monkeypatch: pytest.MonkeyPatch) -> Iterator[Foreign]:
    """A server that REMORA_SERVER names."""
    made = Foreign()
    with answering(made) as port:
        monkeypatch.setenv("REMORA_SERVER", f"127.0.0.1:{port}")
        yield made


def golden(name: str, text: str) -> str:
    """What the golden file says; REMORA_GOLDEN=write makes it say `text`."""
    path = GOLDEN / name
    if os.environ.get("REMORA_GOLDEN") == "write":
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return path.read_text()


REQUESTS = (
    "",
    "--last 5",
    "--first 5",
    "--last 0",
    "--all",
    "-f",
    "-f --last 3",
    "--pod foo",
    "--protocol tcp --port 80",
    "-t trace:to-endpoint -t drop -t l7",
    "--not --ip 10.0.0.0/8 --verdict DROPPED",
    "--service api --namespace shop",
    "--identity world --from-workload Deployment/api",
    "-4 --tcp-flags syn,ack --traffic-direction egress --interface eth0",
    "--http-status 5+ --http-method get --http-path /x --http-url y --http-header a:b --trace-id 0af7",
    "--dns-query a --fqdn *.example --node-name n* --node-label a=b --cluster east --uuid 1 --ip-trace-id 7",
    "--encrypted --snat-ip 192.0.2.1 --cel-expression true --drop-reason-desc POLICY_DENIED",
    "-o json --field-mask time,verdict --field-mask source.pod_name",
    "-o jsonpb",
)


def test_requests_are_those_of_the_golden_file(remora: Remora, foreign: Foreign) -> None:
    made = {}
    for flags in REQUESTS:
        assert remora("observe", *flags.split())[0] == 0
        request = foreign.asked[-1]
        if list(request.field_mask.paths) == [*SHOWN, *FORGOTTEN]:
            request.ClearField("field_mask")
        made[flags] = json.loads(jsonpb.line(request))
    expected = golden("observe/requests.json", json.dumps(made, indent=1, ensure_ascii=False) + "\n")
    assert made == json.loads(expected)


def test_text_asks_for_what_it_shows_and_json_for_everything(remora: Remora, foreign: Foreign) -> None:
    masks = []
    for flags in ("-o compact", "-o dict", "-o table", "-o json", "-o compact --no-default-field-masks"):
        remora("observe", *flags.split())
        masks.append(list(foreign.asked[-1].field_mask.paths))
    shown = [*SHOWN, *FORGOTTEN]
    assert masks == [shown, shown, shown, [], []]
    assert foreign.asked[-1].HasField("field_mask") is False


def test_times_are_sent_as_moments_and_until_not_while_following(remora: Remora, foreign: Foreign) -> None:
    remora("observe", "--since", "2026-01-31T10:00:00Z", "--until", "2026-01-31")
    remora("observe", "-f", "--since", "5m", "--until", "1m")
    timed, followed = foreign.asked
    assert (timed.since.seconds, timed.until.seconds, timed.number) == (1_769_853_600, 1_769_817_600, 0)
    assert (followed.follow, followed.HasField("since"), followed.HasField("until")) == (True, True, False)


def test_own_filters_are_refused_where_the_server_does_not_know_them(remora: Remora, foreign: Foreign) -> None:
    for flags in ("--failed", "--process curl", "--latency-above 5ms"):
        code, _, err = remora("observe", *flags.split())
        assert code == 1
        assert "is no agent of remora" in err


def stamp(second: int = 0) -> Timestamp:
    return Timestamp(seconds=1_769_853_600 + second, nanos=408_000_000)


def agent_event(kind: str, **notification: Any) -> observer_pb2.GetAgentEventsResponse:
    event = json_format.ParseDict({"type": kind, **notification}, flow_pb2.AgentEvent())
    return observer_pb2.GetAgentEventsResponse(agent_event=event, node_name="node-1", time=stamp())


AGENT_EVENTS = (
    agent_event("AGENT_STARTED", agent_start={"time": "2026-01-31T10:00:00.5Z"}),
    agent_event("POLICY_UPDATED", policy_update={"labels": ["a", "b"], "revision": "3", "rule_count": "1"}),
    agent_event("ENDPOINT_REGENERATE_SUCCESS", endpoint_regenerate={"id": "5", "labels": ["k8s:app=api"]}),
    agent_event("ENDPOINT_REGENERATE_FAILURE", endpoint_regenerate={"id": "5", "error": "no\u001b[31mroom"}),
    agent_event("ENDPOINT_CREATED", endpoint_update={"id": "5", "namespace": "shop", "pod_name": "api-1"}),
    agent_event("ENDPOINT_DELETED", endpoint_update={"id": "6"}),
    agent_event(
        "IPCACHE_UPSERTED",
        ipcache_update={"cidr": "10.0.0.1/32", "identity": 300, "old_identity": 299, "host_ip": "192.0.2.1"},
    ),
    agent_event(
        "SERVICE_UPSERTED",
        service_upsert={
            "id": 7,
            "frontend_address": {"ip": "fd00::10", "port": 80},
            "backend_addresses": [{"ip": "10.0.0.1", "port": 8080}, {"ip": "10.0.0.2", "port": 8080}],
            "type": "ClusterIP",
            "namespace": "shop",
            "name": "api",
        },
    ),
    agent_event("SERVICE_DELETED", service_delete={"id": 7}),
    agent_event("AGENT_EVENT_UNKNOWN", unknown={"type": "4", "notification": "{}"}),
    agent_event("ENDPOINT_CREATED"),
)


def debug_event(**fields: Any) -> observer_pb2.GetDebugEventsResponse:
    event = json_format.ParseDict({"type": "DBG_CT_LOOKUP", "message": "looked up", **fields}, flow_pb2.DebugEvent())
    return observer_pb2.GetDebugEventsResponse(debug_event=event, node_name="node-1", time=stamp())


DEBUG_EVENTS = (
    debug_event(source={"ID": 5, "namespace": "shop", "pod_name": "api-1"}, hash=3_405_691_582, cpu=7),
    debug_event(source={"ID": 1, "labels": ["reserved:host"]}),
    debug_event(source={"ID": 9, "labels": ["a", "b"]}),
    debug_event(),
)
FORMS = (
    "compact",
    "compact --print-node-name",
    "dict",
    "table --print-node-name",
    "json",
    "compact --time-format RFC3339",
)


@pytest.mark.parametrize("kind", ["agent-events", "debug-events"])
def test_events_are_told_as_in_the_golden_files(remora: Remora, foreign: Foreign, kind: str) -> None:
    foreign.agent_events, foreign.debug_events = AGENT_EVENTS, DEBUG_EVENTS
    told = ""
    for form in FORMS:
        code, out, err = remora("observe", kind, "-o", *form.split())
        assert (code, err) == (0, "")
        told += f"# -o {form}\n{out}"
    assert told == golden(f"observe/{kind}.txt", told)


def test_requests_of_events_never_ask_for_the_first(remora: Remora, foreign: Foreign) -> None:
    for flags in ("", "--last 3", "--first 3", "--all", "--since 5m"):
        remora("observe", "agent-events", *flags.split())
    assert [(one.number, one.first) for one in foreign.asked] == [
        (20, False),
        (3, False),
        (20, False),
        (2**64 - 1, False),
        (0, False),
    ]


def test_flows_by_their_own_name_are_the_same(remora: Remora, foreign: Foreign) -> None:
    foreign.flows = [item.response for item in ITEMS[:3]]
    assert remora("observe", "flows", "--pod", "shop/") == remora("observe", "--pod", "shop/")
    assert foreign.asked[0] == foreign.asked[1]


def node(name: str, state: int = relay_pb2.NODE_CONNECTED, **fields: Any) -> observer_pb2.Node:
    return observer_pb2.Node(name=name, state=state, address=f"{name}.lan:4244", **fields)  # type: ignore[arg-type]


def test_nodes_and_namespaces_are_listed_as_in_the_golden_file(remora: Remora, foreign: Foreign) -> None:
    hours = 90_061_000_000_000
    foreign.nodes = [
        node("two", relay_pb2.NODE_UNAVAILABLE),
        node("one", version="v1", uptime_ns=hours, num_flows=4_095, max_flows=8_190, seen_flows=900_610),
        node("three", relay_pb2.NODE_GONE, tls=observer_pb2.TLS(enabled=True, server_name="x")),
    ]
    told = ""
    for what in ("nodes", "node", "namespaces"):
        for form in ("table", "wide", "json"):
            code, out, err = remora("list", what, "-o", form)
            assert (code, err) == (0, "")
            told += f"# list {what} -o {form}\n{out}"
    assert told == golden("list/all.txt", told)


def test_peers_are_told_as_they_come(remora: Remora, foreign: Foreign) -> None:
    tls = peer_pb2.TLS(server_name="node-1.default.hubble-grpc.cilium.io")
    foreign.peers = [
        peer_pb2.ChangeNotification(name="default/node-1", address="10.1.1.1:4244", type=peer_pb2.PEER_ADDED, tls=tls),
        peer_pb2.ChangeNotification(name="node-2", address="10.1.1.2", type=peer_pb2.PEER_DELETED),
    ]
    code, out, _ = remora("watch", "peers")
    assert (code, out) == (
        0,
        "PEER_ADDED   10.1.1.1:4244 default/node-1 (TLS.ServerName: node-1.default.hubble-grpc.cilium.io)\n"
        "PEER_DELETED 10.1.1.2 node-2\n",
    )


def test_status_is_told_in_hubble_s_forms(remora: Remora, foreign: Foreign, monkeypatch: pytest.MonkeyPatch) -> None:
    foreign.status = observer_pb2.ServerStatusResponse(
        num_flows=4_095,
        max_flows=8_190,
        seen_flows=1_234_567,
        uptime_ns=90_061_500_000_000,
        flows_rate=123.456,
        version="v1",
        unavailable_nodes=["b", "a"],
    )
    foreign.status.num_connected_nodes.value, foreign.status.num_unavailable_nodes.value = 2, 3
    told = ""
    for form in ("compact", "dict", "table", "jsonpb"):
        _, out, _ = remora("status", "-o", form)
        told += f"# -o {form}\n{out.replace(os.environ['REMORA_SERVER'], 'ADDRESS')}"
    assert told == golden("status/hubble.txt", told)


def test_a_rate_that_is_not_told_is_computed(remora: Remora, foreign: Foreign) -> None:
    foreign.status = observer_pb2.ServerStatusResponse(seen_flows=50, uptime_ns=20_000_000_000)
    assert "Flows/s: 2.50\n" in remora("status", "-o", "compact")[1]
    assert "FLOWS PER SECOND: N/A\n" in remora("status", "-o", "dict")[1]


def test_a_server_that_is_not_healthy_is_a_failure(remora: Remora, foreign: Foreign) -> None:
    foreign.health = health_pb2.HealthCheckResponse.NOT_SERVING
    assert remora("status", "-o", "compact") == (1, "", "remora: not healthy\n")


# ---- TLS ----


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def shown(authority: Authority) -> Pair:
    return authority.issue("relay", "*.hubble-relay.cilium.io")


@pytest.fixture
def secured(authority: Authority, shown: Pair) -> Iterator[tuple[Foreign, int]]:
    """A server that asks for certificates of the authority."""
    pair = (shown.key.read_bytes(), shown.certificate.read_bytes())
    credentials = grpc.ssl_server_credentials([pair], authority.certificate.read_bytes(), True)
    foreign = Foreign()
    with answering(foreign, credentials) as port:
        yield foreign, port


def test_tls_flags_lead_to_a_server_that_asks_for_certificates(
    remora: Remora, secured: tuple[Foreign, int], authority: Authority
) -> None:
    foreign, port = secured
    own = authority.issue("client")
    flags = [
        f"--server=tls://127.0.0.1:{port}",
        f"--tls-ca-cert-files={authority.certificate}",
        "--tls-server-name=ui.hubble-relay.cilium.io",
        f"--tls-client-cert-file={own.certificate}",
        f"--tls-client-key-file={own.key}",
        "--basic-auth-username=me",
        "--basic-auth-password=secret",
    ]
    assert remora("observe", *flags)[0] == 0
    assert foreign.metadata["authorization"] == "Basic bWU6c2VjcmV0"
    assert remora("observe", *flags[:3])[0] == 3


def test_a_wrong_name_or_authority_is_not_trusted(
    remora: Remora, secured: tuple[Foreign, int], authority: Authority, tmp_path: Path
) -> None:
    _, port = secured
    own = authority.issue("client")
    base = [f"--server=127.0.0.1:{port}", "--tls", f"--tls-client-cert-file={own.certificate}"]
    base.append(f"--tls-client-key-file={own.key}")
    trusted = f"--tls-ca-cert-files={authority.certificate}"
    stranger = f"--tls-ca-cert-files={Authority(tmp_path).certificate}"
    for flags in (
        [trusted, "--tls-server-name=other.example"],
        [stranger, "--tls-server-name=a.hubble-relay.cilium.io"],
    ):
        assert remora("observe", *base, *flags)[0] == 3
    assert remora("observe", *base, "--tls-allow-insecure")[0] == 0


def test_files_that_cannot_be_used_are_named(remora: Remora, tmp_path: Path) -> None:
    broken = tmp_path / "ca.pem"
    broken.write_text("nothing")
    server = "--server=tls://127.0.0.1:1"
    assert remora("observe", server, f"--tls-ca-cert-files={tmp_path}/none")[2] == (
        f"remora: cannot load cert '{tmp_path}/none': No such file or directory\n"
    )
    assert remora("observe", server, f"--tls-ca-cert-files={broken}")[2] == (
        f"remora: cannot process cert '{broken}': must be a PEM encoded certificate\n"
    )
