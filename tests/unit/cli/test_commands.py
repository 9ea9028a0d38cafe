"""Commands against a running server: what they print, how they fail, with which code."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import grpc
import pytest

from daemon.proto import observer_pb2, observer_pb2_grpc, remora_pb2
from tests.unit.api.shop import REQUEST, RESPONSE, SECOND, FakeView, add_message, rows, served
from tests.unit.cli.conftest import Remora
from tests.unit.cli.samples import flow

pytestmark = pytest.mark.usefixtures("server")

# Root's turn imports all that is needed: nobody may not read a clone in a home that is closed to others.
STATUS_AS_NOBODY = """
import os, sys
from daemon.cli import main
command = ["status", "--request-timeout", "60s", "--server"]
assert main.run([*command, sys.argv[1] + ".none"]) == 3  # for its imports; no connection stays
os.setgroups([])
os.setgid(65_534)
os.setuid(65_534)
sys.exit(main.run([*command, sys.argv[1]]))
"""


def test_observe_shows_the_last_twenty_flows(remora: Remora, view: FakeView) -> None:
    view.store.append(rows(50))
    code, out, err = remora("observe")
    lines = out.splitlines()
    assert (code, err, len(lines)) == (0, "", 20)
    assert lines[-1] == (
        "Nov 14 22:14:09.000: shop/frontend:40049 (ID:300) -> shop/backend-1:8080 (ID:301) "
        "to-endpoint FORWARDED (TCP Flags: SYN)"
    )


def test_observe_shows_latency_and_the_client_on_the_left(remora: Remora, view: FakeView) -> None:
    add_message(view, REQUEST, at=6)
    add_message(view, RESPONSE, at=7, reply=True)
    _, out, _ = remora("observe", "-t", "l7", "--pod", "shop/backend")
    assert [line.partition(": ")[2] for line in out.splitlines()] == [
        "shop/frontend:40006 (ID:300) -> shop/backend-1:8080 (ID:301) http-request FORWARDED "
        "(HTTP/1.1 GET http://backend/api/users)",
        "shop/frontend:40007 (ID:300) <- shop/backend-1:8080 (ID:301) http-response FORWARDED "
        "(HTTP/1.1 200 325ms (GET http://backend/api/users))",
    ]


def test_observe_adds_the_process_when_asked(remora: Remora, view: FakeView) -> None:
    view.store.append(rows(1, forward_packets=2, forward_bytes=1_500, pid=9, comm=list(b"curl".ljust(16, b"\0"))))
    _, out, _ = remora("observe", "--extra")
    assert out.rstrip().endswith("(TCP Flags: SYN) [out 2 pkts 1.5kB, in 0 pkts 0B, curl(9)]")


def test_observe_json_is_one_response_a_line(remora: Remora, view: FakeView) -> None:
    view.store.append(rows(2))
    _, out, _ = remora("observe", "-o", "json", "--last", "1")
    (line,) = out.splitlines()
    answer = json.loads(line)
    assert list(answer) == ["flow", "node_name", "time"]
    assert answer["flow"]["source"]["pod_name"] == "frontend"


def test_observe_sends_the_field_mask(remora: Remora, view: FakeView) -> None:
    view.store.append(rows(1))
    _, out, _ = remora("observe", "-o", "json", "--field-mask", "verdict,source.pod_name")
    assert json.loads(out)["flow"] == {"verdict": "FORWARDED", "source": {"pod_name": "frontend"}}


def test_a_filter_that_the_server_refuses_is_told_in_its_words(remora: Remora) -> None:
    code, out, err = remora("observe", "--http-status", "6")
    assert (code, out) == (1, "")
    assert err.startswith("remora: invalid http status code filter")


def healthy_state() -> remora_pb2.StatusResponse:
    return remora_pb2.StatusResponse(
        health=remora_pb2.HEALTH_OK,
        version="1.2.3",
        node="node-1",
        kernel="6.12.0",
        pid=812,
        uptime_ns=5_000 * SECOND,
        resident_bytes=61_200_000,
        config="/etc/remora/config.yaml",
        pins="/sys/fs/bpf/remora",
        origin="reused",
        features=[
            remora_pb2.Feature(name="ring buffer", present=True, purpose="flow records", required=True),
            remora_pb2.Feature(name="batch operations", purpose="writes tables one entry at a time without it"),
        ],
        programs=[
            remora_pb2.Program(name="from_endpoint", hook="tc", attached=["veth1", "veth2"], id=31),
            remora_pb2.Program(name="connect4", hook="cgroup", id=32),
        ],
        maps=[
            remora_pb2.Map(name="services", type="hash", entries=12, max_entries=65_536, purpose="frontends"),
            remora_pb2.Map(name="flows", type="ringbuf", max_entries=1 << 24, uncounted=True, purpose="records"),
        ],
        sources=[
            remora_pb2.Source(kind="folder", path="/etc/remora/manifests", age_ns=12 * SECOND, services=4, pods=6),
        ],
        counters=[
            remora_pb2.Counter(name="forwarded_ingress", value=1_234_567, meaning="packets to workloads"),
            remora_pb2.Counter(name="truncated", meaning="packets cut off", fault=True),
        ],
        metrics_port=9_965,
        subsystems=[
            remora_pb2.Subsystem(name="datapath", health=remora_pb2.HEALTH_OK, words="reused; on 2 workload devices"),
            remora_pb2.Subsystem(name="sources", health=remora_pb2.HEALTH_OK, words="folder, 12 s old"),
        ],
        services=3,
        endpoints=6,
    )


def test_status_of_a_healthy_agent_is_one_screen_and_code_0(remora: Remora, view: FakeView) -> None:
    view.state = healthy_state()
    view.store.append(rows(7))
    code, out, err = remora("status")
    golden = Path(__file__).parents[2] / "golden" / "status" / "healthy.txt"
    if os.environ.get("REMORA_GOLDEN") == "write":
        golden.write_text(out)
    assert (code, err) == (0, "")
    assert _without_ages(out) == _without_ages(golden.read_text())


def _without_ages(text: str) -> str:
    return "\n".join(line.partition(", oldest ")[0] for line in text.splitlines())


def test_status_of_a_degraded_agent_says_what_is_wrong_and_fails(remora: Remora, view: FakeView) -> None:
    view.state = healthy_state()
    view.state.health = remora_pb2.HEALTH_DEGRADED
    view.state.warnings.append("manifests/shop.yaml:14: " + "a very long reason " * 20)
    view.state.sources[0].problems.add(file="shop.yaml", line=14, message="spec.ports is missing")
    view.state.losses.add(where="flow ring", count=17)
    view.state.counters[1].value = 3
    code, out, _ = remora("status")
    assert code == 1
    assert "degraded" in out.splitlines()[0]
    assert "problem shop.yaml:14: spec.ports is missing" in out
    assert "17 lost in the flow ring" in out
    assert max(map(len, out.splitlines())) <= 100


def test_status_names_the_part_that_is_degraded(remora: Remora, view: FakeView) -> None:
    view.state = healthy_state()
    view.state.health = remora_pb2.HEALTH_DEGRADED
    view.state.subsystems[1].health = remora_pb2.HEALTH_DEGRADED
    view.state.warnings.append("shop.yaml:14: " + "a long reason " * 20)
    code, out, _ = remora("status", "--brief")
    head, first, second, warning = out.splitlines()
    assert (code, head) == (1, "remora 1.2.3 on node-1: degraded")
    assert first.split()[:2] == ["ok", "datapath"]
    assert second.split()[:2] == ["degraded", "sources"]
    assert warning.endswith("a long reason ")


def test_status_verbose_has_a_line_for_each_place(remora: Remora, view: FakeView) -> None:
    view.state = healthy_state()
    _, out, _ = remora("status", "--verbose")
    lines = [line.split() for line in out.splitlines()]
    assert ["from_endpoint", "tc", "31", "-", "-", "veth1"] in lines
    assert ["veth2"] in lines
    assert any("0+0 bytes" in line and line.endswith("refused") for line in out.splitlines())


def test_status_waits_until_the_agent_is_healthy_and_no_longer(remora: Remora, view: FakeView) -> None:
    view.state = healthy_state()
    view.state.health = remora_pb2.HEALTH_DEGRADED
    assert remora("status", "--wait", "50ms")[0] == 1
    timer = threading.Timer(0.3, lambda: setattr(view.state, "health", remora_pb2.HEALTH_OK))
    timer.start()
    assert remora("status", "--wait", "20s")[0] == 0
    timer.join()
    code, _, error = remora("status", "--wait", "50ms", "--server", "unix:///nowhere/none.sock")
    assert (code, "no agent listens" in error) == (3, True)
    assert remora("status", "--wait", "soon")[0] == 2


def test_status_json_holds_everything(remora: Remora, view: FakeView) -> None:
    view.state = healthy_state()
    _, out, _ = remora("status", "-o", "json")
    answer = json.loads(out)
    assert answer["health"] == "HEALTH_OK"
    assert answer["programs"][0]["attached"] == ["veth1", "veth2"]


LISTINGS = {
    "service": [
        "SERVICE       PORT  TYPE       FRONTEND          BACKEND        WORKLOAD",
        "shop/backend  http  ClusterIP  10.96.0.10:80/TCP  10.0.1.2:8080  shop/backend-1",
        "shop/backend  http  ClusterIP  [fd00::10]:80/TCP  none           -",
    ],
    "endpoint": [
        "ENDPOINT ID IDENTITY DEVICE ADDRESSES LABELS",
        "shop/backend-1 17 301 veth17 10.0.1.2 k8s:app=backend-1",
        "shop/frontend 16 300 veth16 10.0.1.1 k8s:app=frontend",
    ],
    "identity": [
        "IDENTITY NAME ENDPOINTS LABELS",
        "1 host 0 reserved:host",
        "2 world 0 reserved:world",
        "300 - 1 k8s:app=frontend,k8s:io.kubernetes.pod.namespace=shop",
        "301 - 1 k8s:app=backend-1,k8s:io.kubernetes.pod.namespace=shop",
    ],
    "map": [
        "NAME TYPE ENTRIES MAX FILL WHAT",
        "services hash 2 65,536 0.0% frontend to service",
        "flows ringbuf - 16,777,216 - flow records",
    ],
}


@pytest.mark.parametrize("name", LISTINGS)
def test_listings_are_tables_that_fit_the_terminal(remora: Remora, name: str) -> None:
    code, out, err = remora(name, "list")
    assert (code, err) == (0, "")
    assert [line.split() for line in out.splitlines()] == [line.split() for line in LISTINGS[name]]
    assert max(map(len, out.splitlines())) <= 100


@pytest.mark.parametrize(
    ("name", "key", "count"), [("service", "services", 2), ("endpoint", "endpoints", 2), ("map", "maps", 2)]
)
def test_listings_are_json_for_programs(remora: Remora, name: str, key: str, count: int) -> None:
    _, out, _ = remora(name, "list", "-o", "json")
    assert len(json.loads(out)[key]) == count


def test_monitor_prints_records_with_numbers(remora: Remora, view: FakeView) -> None:
    view.store.append(rows(2, forward_packets=1, forward_bytes=60, length=60, service=7))
    code, out, _ = remora("monitor", "--last", "1", "--stored")
    assert code == 0
    assert out == (
        "#1 | 2023-11-14T22:13:21Z | NEW FORWARDED INGRESS TO_ENDPOINT if 17 | 10.0.1.1:40001 (16) -> "
        "10.0.1.2:8080 (17) | TCP SYN len 60 service 7 | [out 1 pkts 60B, in 0 pkts 0B]\n"
    )


def test_no_socket_says_how_to_start_an_agent(remora: Remora, tmp_path: Path) -> None:
    code, out, err = remora("status", "--server", f"unix://{tmp_path}/none.sock")
    assert (code, out) == (3, "")
    assert err == (
        f"remora: no agent listens at {tmp_path}/none.sock; "
        "start one with `sudo remora agent` or `systemctl start remora`\n"
    )


def test_a_left_over_socket_is_told_from_a_missing_one(remora: Remora, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(f"{tmp_path}/dead.sock")
    code, _, err = remora("observe", "--server", f"unix://{tmp_path}/dead.sock")
    assert code == 3
    assert "left over from an agent that is gone" in err


def test_a_forbidden_socket_names_the_group(view: FakeView) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root to become somebody else")
    with TemporaryDirectory() as folder, served(view, Path(folder)) as address:
        Path(folder).chmod(0o755)
        command = [sys.executable, "-c", STATUS_AS_NOBODY, address]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 3, done.stderr
    assert done.stderr.endswith(
        f"remora: permission denied on {folder}/remora.sock; "
        "use sudo, or join the group remora: sudo usermod -aG remora $USER\n"
    )


def test_nobody_at_a_tcp_address_is_one_line(remora: Remora) -> None:
    code, _, err = remora("service", "list", "--server", "127.0.0.1:1")
    assert code == 3
    assert err.startswith("remora: cannot reach an agent at 127.0.0.1:1")
    assert err.count("\n") == 1


def test_wrong_use_is_code_2(remora: Remora) -> None:
    assert remora("nonsense")[0] == 2
    assert remora()[0] == 2
    assert remora("service")[0] == 2


def test_completion_is_there_for_three_shells(remora: Remora) -> None:
    for shell in ("bash", "zsh", "fish"):
        code, out, _ = remora("completion", shell)
        assert code == 0
        assert "_REMORA_COMPLETE" in out


def test_agent_without_root_says_so(remora: Remora, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    for name in ("agent", "demo", "cleanup"):
        code, _, err = remora(name)
        assert code == 1
        assert err.strip().endswith(f"needs root; run: sudo remora {name}")


def test_following_ends_with_ctrl_c_after_showing_what_came(server: str, view: FakeView) -> None:
    command = [sys.executable, "-m", "daemon.cli.main", "observe", "-f", "--last", "1", "--server", server]
    view.store.append(rows(1))
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as follower:
        assert follower.stdout is not None
        assert "shop/frontend:40000" in follower.stdout.readline()
        view.store.append(rows(1, 1))
        assert "shop/frontend:40001" in follower.stdout.readline()
        follower.send_signal(signal.SIGINT)
        _, err = follower.communicate(timeout=10)
    assert (follower.returncode, err.strip()) == (0, "")


def test_what_is_interrupted_before_it_has_an_answer_does_not_say_that_all_is_well(
    remora: Remora, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ctrl_c(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("daemon.cli.client.Client.__init__", ctrl_c)
    for command in (["status"], ["connectivity", "test"], ["observe"], ["verify"]):
        assert remora(*command)[0] == 130


def test_a_reader_that_has_seen_enough_ends_the_command_quietly(server: str, view: FakeView) -> None:
    view.store.append(rows(4_000))
    command = f"{sys.executable} -m daemon.cli.main observe --all --server {server} | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=20, check=True)
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""


class PlainObserver(observer_pb2_grpc.ObserverServicer):
    """A server of the observer API that is not ours."""

    def GetFlows(self, request: observer_pb2.GetFlowsRequest, context: object) -> Any:
        yield flow(1).response
        yield flow(2).response


def test_observe_works_against_other_servers_of_the_observer_api(remora: Remora) -> None:
    server = grpc.server(ThreadPoolExecutor(1))
    observer_pb2_grpc.add_ObserverServicer_to_server(PlainObserver(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    code, out, err = remora("observe", "--server", f"127.0.0.1:{port}")
    status, _, complaint = remora("status", "--server", f"127.0.0.1:{port}")
    server.stop(None)
    assert (code, err, len(out.splitlines())) == (0, "", 2)
    assert status == 1
    assert "another program or an older agent" in complaint


def test_observe_loads_nothing_of_the_agent() -> None:
    program = (
        "import sys; from daemon.cli import main; main.run(['observe', '--print-raw-filters']); "
        "print(sorted(name for name in sys.modules if name.split('.')[0] in ('numpy', 'ebpf', 'pyroute2', 'bcc') "
        "or name.startswith(('daemon.flows', 'daemon.agent', 'daemon.demo'))))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=20, check=True)
    assert done.stdout == "[]\n"
