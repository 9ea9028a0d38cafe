"""Health as kube-proxy answers it, and the answerer beneath it against clients of all sorts."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import pytest

from daemon.agent import health
from daemon.agent.answerer import CONNECTIONS, Answer, Answerer
from daemon.agent.health import Health, HealthPorts, LocalEndpoints
from daemon.agent.proxy import Proxy, external_without_local, health_ports
from daemon.model.snapshot import Snapshot
from ebpf.errors import RemoraError
from tests.unit.services.build import HERE, compiled, service, slice_

Talk = Callable[[int], Awaitable[None]]


class Time:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.seconds = 1_000.0

    def __call__(self) -> float:
        return self.seconds


def watched() -> tuple[Health, Time]:
    clock = Time()
    return Health(now=clock, wall=clock), clock


def test_nothing_to_do_is_healthy_however_long() -> None:
    one, clock = watched()
    clock.seconds += 1e6
    assert one.answer("/healthz").status == 200


def test_a_change_that_waits_too_long_is_not() -> None:
    one, clock = watched()
    one.queued()
    clock.seconds += health.TIMEOUT - 1
    assert one.answer("/livez").status == 200
    clock.seconds += 1
    answer = one.answer("/healthz")
    assert (answer.status, json.loads(answer.body)["healthy"]) == (503, False)
    one.synced(clock())
    assert one.answer("/healthz").status == 200


def test_a_change_that_came_while_another_was_written_still_waits() -> None:
    one, clock = watched()
    one.queued()
    taken = clock()
    clock.seconds += 1
    one.queued()
    one.synced(taken)
    clock.seconds += health.TIMEOUT
    assert not one.healthy


def test_answers_have_kube_proxys_shape() -> None:
    one, _ = watched()
    told = json.loads(one.answer("/healthz").body)
    assert told == {
        "lastUpdated": "1970-01-01T00:16:40Z",
        "currentTime": "1970-01-01T00:16:40Z",
        "nodeEligible": True,
        "healthy": True,
    }
    assert "nodeEligible" not in json.loads(one.answer("/livez").body)
    assert one.answer("/").status == 404
    assert one.checks == {("healthz", 200): 1, ("livez", 200): 1}


def asking(requests: list[bytes]) -> list[bytes]:
    """What an answerer that echoes the path says to each request, in one connection each."""

    async def talk() -> list[bytes]:
        server = Answerer(lambda path: Answer(path, kind="text/plain"))
        await server.start("127.0.0.1", 0)
        try:
            return [await _exchange(server.ports[0], request) for request in requests]
        finally:
            await server.stop()

    return asyncio.run(talk())


async def _exchange(port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        if not request.endswith(b"\r\n\r\n"):
            writer.write_eof()
        return await asyncio.wait_for(reader.read(), 5)
    except ConnectionError:
        return b""
    finally:
        writer.close()


def test_a_request_is_answered_and_the_connection_closed() -> None:
    (answer,) = asking([b"GET /a?b HTTP/1.1\r\nHost: x\r\n\r\n"])
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Connection: close" in head
    assert body == b"/a"


def test_head_gets_no_body_and_other_methods_are_refused() -> None:
    head, post = asking([b"HEAD /a HTTP/1.0\r\n\r\n", b"POST /a HTTP/1.1\r\n\r\n"])
    assert head.endswith(b"\r\n\r\n")
    assert b"Content-Length: 2" in head
    assert post.startswith(b"HTTP/1.1 405 ")


def test_garbage_ends_the_connection_and_nothing_else() -> None:
    garbage = [b"\x00\xff\r\n\r\n", b"GET a HTTP/1.1\r\n\r\n", b"GET /half", b"x" * 100_000, b"", b"GET  /  \r\n\r\n"]
    *answers, last = asking([*garbage, b"GET /ok HTTP/1.1\r\n\r\n"])
    assert [answer[:12] for answer in answers] == [b"HTTP/1.1 400", b"HTTP/1.1 400", b"", b"", b"", b"HTTP/1.1 400"]
    assert last.endswith(b"/ok")


def test_a_slow_client_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("daemon.agent.answerer.TIMEOUT", 0.1)

    async def talk() -> bytes:
        server = Answerer(lambda path: Answer(path))
        await server.start("127.0.0.1", 0)
        reader, writer = await asyncio.open_connection("127.0.0.1", server.ports[0])
        writer.write(b"GET / HT")
        try:
            return await asyncio.wait_for(reader.read(), 5)
        finally:
            writer.close()
            await server.stop()

    assert asyncio.run(talk()) == b""


def test_more_connections_than_the_limit_are_closed_unheard() -> None:
    async def talk() -> bytes:
        server = Answerer(lambda path: Answer(path))
        await server.start("127.0.0.1", 0)
        held = [await asyncio.open_connection("127.0.0.1", server.ports[0]) for _ in range(CONNECTIONS)]
        await asyncio.sleep(0.1)
        try:
            return await _exchange(server.ports[0], b"GET / HTTP/1.1\r\n\r\n")
        finally:
            for _, writer in held:
                writer.close()
            await server.stop()

    assert asyncio.run(talk()) == b""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_health_ports_follow_what_is_wanted() -> None:
    port = free_port()
    request = b"GET / HTTP/1.1\r\n\r\n"

    async def talk() -> list[bytes]:
        ports, answers = HealthPorts(Health()), []
        for count in (2, 0):
            await ports.update({port: LocalEndpoints("shop", "web", count)})
            answers.append(await _exchange(port, request))
        await ports.update({})
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
        return answers

    some, none = asyncio.run(talk())
    assert some.startswith(b"HTTP/1.1 200 ")
    assert b"X-Load-Balancing-Endpoint-Weight: 2" in some
    assert none.startswith(b"HTTP/1.1 503 ")


def test_a_port_that_is_taken_is_told_and_tried_again() -> None:
    async def talk() -> tuple[str, dict[int, str]]:
        ports = HealthPorts(Health())
        with socket.socket() as other:
            other.bind(("0.0.0.0", 0))
            other.listen()
            port = other.getsockname()[1]
            await ports.update({port: LocalEndpoints("shop", "web", 1)})
            told = ports.failures[port]
        await ports.update({port: LocalEndpoints("shop", "web", 1)})
        after = dict(ports.failures)
        await ports.stop()
        return told, after

    told, after = asyncio.run(talk())
    assert "shop/web" in told
    assert after == {}


def test_an_address_that_cannot_be_used_names_the_setting() -> None:
    async def start() -> None:
        async with AsyncExitStack() as stack:
            await health.serve(stack, "127.0.0.1:none", "healthz_address", health.mode)

    with pytest.raises(RemoraError, match="healthz_address"):
        asyncio.run(start())


BALANCED = {"type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": 31000}


def local_slices(**fields: object) -> list[object]:
    """Two ready endpoints here, one draining here, one ready elsewhere; in both families."""
    draining = {"ready": False, "serving": True, "terminating": True}
    made = []
    for name, prefix in (("v4", "10.0.0."), ("v6", "fd00::")):
        endpoints = [
            {"addresses": [f"{prefix}1"], "nodeName": "here"},
            {"addresses": [f"{prefix}2"], "nodeName": "here"},
            {"addresses": [f"{prefix}3"], "nodeName": "here", "conditions": draining},
            {"addresses": [f"{prefix}4"], "nodeName": "there"},
        ]
        made.append(slice_("web", f"{prefix}1", name, endpoints=endpoints))
    return made


def test_local_ready_endpoints_are_counted_by_address_and_not_by_family() -> None:
    table = compiled(service("web", "10.96.0.1 fd00:1::1", **BALANCED), *local_slices())  # type: ignore[arg-type]
    assert health_ports(table) == {31000: LocalEndpoints("shop", "web", 2)}


@pytest.mark.parametrize(
    "change", [{"type": "NodePort"}, {"externalTrafficPolicy": "Cluster"}, {"healthCheckNodePort": 0}]
)
def test_a_health_port_is_only_for_load_balancers_with_policy_local(change: dict[str, object]) -> None:
    table = compiled(service("web", **(BALANCED | change)), *local_slices())  # type: ignore[arg-type]
    assert health_ports(table) == {}


def test_ports_without_local_endpoints_are_counted_where_others_exist() -> None:
    ports = ({"name": "", "port": 80, "nodePort": 30080}, {"name": "none", "port": 81, "nodePort": 30081})
    lacking = service("web", "10.96.0.1", *ports, **BALANCED)
    there = slice_("web", "10.0.0.1", endpoints=[{"addresses": ["10.0.0.1"], "nodeName": "there"}])
    assert external_without_local(compiled(lacking, there)) == 1
    assert external_without_local(compiled(lacking)) == 0


def test_changes_are_pending_until_the_kernel_has_them() -> None:
    async def live() -> list[tuple[float, float, float]]:
        proxy, told = Proxy(HERE), []
        web = service("web")
        first = Snapshot(services=(web, service("other", "10.96.0.2")), slices=(slice_("web", "10.0.0.1"),))
        proxy.queued(first)
        told.append(samples(proxy))
        taken = proxy.begin()
        proxy.queued(Snapshot(services=(web, service("other", "10.96.0.3")), slices=first.slices))
        await proxy.synced(taken, compiled(), whole=True)
        told.append(samples(proxy))
        await proxy.synced(proxy.begin(), compiled(), whole=False)
        told.append(samples(proxy))
        return told

    assert asyncio.run(live()) == [(2, 2, 1), (3, 1, 0), (3, 0, 0)]


def samples(proxy: Proxy) -> tuple[float, float, float]:
    """Services changed, services pending, slices pending."""
    found = {sample.name: sample.value for family in proxy.collect() for sample in family.samples}
    prefix = "kubeproxy_sync_proxy_rules"
    names = ("service_changes_total", "service_changes_pending", "endpoint_changes_pending")
    total, pending, slices = (found[f"{prefix}_{name}"] for name in names)
    return total, pending, slices
