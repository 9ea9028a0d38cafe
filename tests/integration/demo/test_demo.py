"""The demo as a user runs it: what it shows, and that nothing of it stays, however it ends."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from daemon.demo import cgroups
from daemon.demo.stage import NAME
from daemon.demo.topology import leftovers

ROOT = Path(__file__).parents[3]
ENDING = 20.0  # s that a demo may take to end
POD = r"shop/backend-\d:8080"

Demo = subprocess.Popen[str]
Start = Callable[..., Demo]

pytestmark = pytest.mark.usefixtures("root")


def end(demo: Demo) -> None:
    """End a demo that a failed test left running."""
    if demo.poll() is None:
        demo.terminate()
        demo.communicate(timeout=ENDING)


@contextmanager
def starting() -> Iterator[Start]:
    """A function that starts demos; those still running at the end are ended."""
    with ExitStack() as stack:

        def start(*arguments: str) -> Demo:
            argv = [sys.executable, "-m", "daemon.cli.main", "demo", *arguments]
            demo = subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            stack.callback(end, demo)
            return demo

        yield start


@pytest.fixture
def start() -> Iterator[Start]:
    with starting() as function:
        yield function


def read_until(demo: Demo, words: str) -> str:
    """Output up to the line with these words."""
    assert demo.stdout
    seen = ""
    for line in demo.stdout:
        seen += line
        if words in line:
            return seen
    raise AssertionError(f"the demo ended without saying {words!r}:\n{seen}")


def remains() -> list[str]:
    """What a demo left on this host, in words."""
    places = (Path("/sys/fs/bpf", NAME), Path("/run", NAME), cgroups.mount_point() / NAME)
    return [*leftovers(NAME), *(str(place) for place in places if place.exists()), *processes()]


def processes() -> list[str]:
    """Command lines of processes that belong to a demo."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if re.search(rf"-m daemon\.demo\.(web|names|shopper)|/run/{NAME}/", line):
            found.append(line)
    return found


@pytest.fixture(scope="module")
def played() -> str:
    """Output of a demo that played to its end."""
    with starting() as start:
        demo = start("--duration", "9s")
        output, _ = demo.communicate(timeout=60)
    assert demo.returncode == 0, output
    return output


def test_the_flows_carry_names_method_path_status_and_latency(played: str) -> None:
    asked = rf"shop/frontend:\d+ \(ID:\d+\) -> {POD} \(ID:\d+\) http-request FORWARDED"
    assert re.search(rf"{asked} \(HTTP/1\.1 GET http://backend/api/users\)", played)
    replied = rf"shop/frontend:\d+ \(ID:\d+\) <- {POD} \(ID:\d+\) http-response FORWARDED"
    assert re.search(rf"{replied} \(HTTP/1\.1 200 \d+ms \(GET http://backend/api/users\)\)", played)
    assert re.search(rf"{replied} \(HTTP/1\.1 404 \d+ms \(GET http://backend/api/missing\)\)", played)


def test_the_flows_carry_dns_question_and_answer(played: str) -> None:
    assert "dns-request agent FORWARDED (DNS Query backend.shop.svc.cluster.local. A)" in played
    assert 'DNS Answer "10.96.0.20"' in played
    assert 'DNS Answer "fd00:10:96::20"' in played
    assert "Non-Existent Domain" in played or "NXDomain" in played or "NXDOMAIN" in played


def test_the_refused_connection_is_shown(played: str) -> None:
    assert re.search(r"<- shop/payments:81 .* \(TCP Flags: .*RST", played)


def test_the_connection_that_a_policy_denies_is_shown_with_its_policy(played: str) -> None:
    assert re.search(r"shop/frontend:\d+ .* -> shop/payments:9090 .* DROPPED .*isolation by shop/frontend", played)
    summary = played.split("─\n")[-1]
    assert re.search(r"shop/frontend -> shop/payments:9090 \(TCP\) +\d+ x denied by shop/frontend", summary)


def test_the_summary_counts_requests_latency_and_errors(played: str) -> None:
    summary = played.split("─\n")[-1]
    assert re.search(r"shop/frontend -> shop/backend \(HTTP\) +\d+ +[\d.]+ms +[\d.]+ms +\d+ x 404", summary)
    assert re.search(r"shop/frontend -> kube-system/kube-dns \(DNS\) +\d+ .* x NXDOMAIN", summary)
    assert re.search(r"shop/frontend -> shop/payments:81 \(TCP\) +\d+ x refused", summary)


def test_a_demo_that_ended_leaves_nothing(played: str) -> None:
    assert "cleaned up" in played
    assert remains() == []


@pytest.mark.parametrize("moment", ["making the workloads", "starting the agent", "the shop is open"])
def test_a_demo_that_is_interrupted_leaves_nothing(start: Start, moment: str) -> None:
    demo = start("--duration", "60s")
    read_until(demo, moment)
    demo.send_signal(signal.SIGINT)
    output, _ = demo.communicate(timeout=ENDING)
    assert demo.returncode == 128 + signal.SIGINT, output
    assert remains() == []


def test_a_terminated_demo_leaves_nothing(start: Start) -> None:
    demo = start("--duration", "60s")
    read_until(demo, "http-response")
    demo.terminate()
    demo.communicate(timeout=ENDING)
    assert demo.returncode == 128 + signal.SIGTERM
    assert remains() == []


def test_a_second_demo_is_refused_and_does_the_first_no_harm(start: Start) -> None:
    first = start("--duration", "60s")
    read_until(first, "the shop is open")
    second = start("--duration", "1s")
    output, _ = second.communicate(timeout=ENDING)
    assert second.returncode == 1
    assert "runs on this host already" in output
    read_until(first, "http-response")
    first.terminate()
    first.communicate(timeout=ENDING)
    assert remains() == []


def test_what_a_killed_demo_left_is_removed_by_the_next(start: Start) -> None:
    killed = start("--duration", "60s")
    read_until(killed, "http-response")
    killed.kill()
    killed.wait()
    assert len(processes()) >= 6
    following = start("--duration", "1s")
    output, _ = following.communicate(timeout=60)
    assert "removed what an earlier demo left" in output
    assert following.returncode == 0
    assert remains() == []


def test_keep_leaves_the_shop_open_with_working_hints_until_ctrl_c(start: Start, tmp_path: Path) -> None:
    demo = start("--duration", "1s", "--keep")
    output = read_until(demo, "Ctrl-C closes it")
    found = re.search(r"export REMORA_SERVER=(\S+)", output)
    assert found
    environment = os.environ | {"REMORA_SERVER": found[1]}
    for command in re.findall(r"/remora ((?:status|service|endpoint|observe --last).*)", output):
        argv = [sys.executable, "-m", "daemon.cli.main", *command.split()]
        done = subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=ENDING)
        assert done.returncode == 0, (command, done.stderr)
        assert re.search("shop|healthy", done.stdout)
    suggestion_denies_nothing(environment, tmp_path)
    time.sleep(0.5)
    demo.send_signal(signal.SIGINT)
    demo.communicate(timeout=ENDING)
    assert demo.returncode == 0
    assert remains() == []


def suggestion_denies_nothing(environment: dict[str, str], folder: Path) -> None:
    """Policies that are suggested for what was seen deny nothing of it."""
    flows, suggested = folder / "flows.jsonl", folder / "suggested.yaml"
    flows.write_text(remora(environment, "observe", "--all", "-o", "jsonpb"))
    suggested.write_text(remora(environment, "policy", "suggest", "-n", "shop", "-n", "kube-system", "--input", flows))
    told = json.loads(remora(environment, "policy", "test", "-f", suggested, "--input", flows, "-o", "json"))
    assert told["asked"] > 0
    assert told["denied"] == told["allowed"] == []


def remora(environment: dict[str, str], *arguments: str | Path) -> str:
    """What a command prints; its exit code must be 0."""
    argv = [sys.executable, "-m", "daemon.cli.main", *arguments]
    done = subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=ENDING)
    assert done.returncode == 0, (arguments, done.stdout, done.stderr)
    return done.stdout
