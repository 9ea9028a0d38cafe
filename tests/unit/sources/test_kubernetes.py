"""The API server as source, against a server that fails on demand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from lightkube.config.kubeconfig import KubeConfig

from daemon.model.snapshot import Snapshot
from daemon.sources.kubernetes import KubernetesSource
from daemon.sources.kubernetes.config import Access
from daemon.sources.kubernetes.reflector import Patience
from tests.support.apiserver import ApiServer
from tests.support.apiserver_store import Store

HASTY = Patience(page=7, watch=20, silence=0.6, brief=0.1, wait=0.02, wait_limit=0.1, refused=0.2, absent=0.2)


def service(name: str, port: int = 80, **meta: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "shop", **meta},
        "spec": {"clusterIP": f"10.96.0.{port % 250 + 1}", "ports": [{"port": port, "targetPort": 8080}]},
    }


def pod(name: str, ip: str = "10.244.0.5", phase: str = "Running") -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "shop", "labels": {"app": name}},
        "spec": {"nodeName": "n1"},
        "status": {"phase": phase, "podIP": ip, "podIPs": [{"ip": ip}]},
    }


@dataclass
class World:
    """A server, a source, and the snapshots that came."""

    server: ApiServer
    source: KubernetesSource
    seen: list[Snapshot] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        return [one.name for one in self.source.snapshot.services]

    async def until(self, condition: Callable[[], object], timeout: float = 5.0) -> None:
        async with asyncio.timeout(timeout):
            while not condition():
                await asyncio.sleep(0.01)


@asynccontextmanager
async def world(
    store: Store | None = None,
    patience: Patience = HASTY,
    forbidden: Iterable[str] = (),
    absent: Iterable[str] = (),
) -> AsyncIterator[World]:
    server = ApiServer(store, bookmark=0.1)
    server.forbidden, server.absent = set(forbidden), set(absent)
    await server.start()
    config = KubeConfig.from_server(server.url).get()
    assert config
    made = World(server, KubernetesSource(Access(server.url, config), patience))
    await made.source.start(made.seen.append)
    try:
        yield made
    finally:
        await made.source.stop()
        await server.stop()


def run(test: Callable[[World], Awaitable[None]], store: Store | None = None) -> None:
    async def body() -> None:
        async with world(store) as made:
            await test(made)

    asyncio.run(body())


def filled(count: int = 30) -> Store:
    store = Store()
    for index in range(count):
        store.put(service(f"s{index:03}", 80 + index))
    return store


def test_the_first_snapshot_holds_every_page() -> None:
    async def test(made: World) -> None:
        assert len(made.seen) == 1
        assert made.names == [f"s{index:03}" for index in range(30)]
        assert sum("continue=" in target for target in made.server.requests) == 4

    run(test, filled())


def test_nothing_is_handed_out_before_every_kind_was_listed() -> None:
    async def test(made: World) -> None:
        await made.server.stop()
        late = KubernetesSource(made.source._access, HASTY)
        seen: list[Snapshot] = []
        started = asyncio.create_task(late.start(seen.append))
        await asyncio.sleep(0.2)
        assert not seen
        assert any("nothing is in force yet" in str(one) for one in late.problems)
        await made.server.start()
        await started
        assert len(seen) == 1
        await late.stop()

    run(test, filled(3))


def test_no_task_of_a_source_ends_before_it_is_stopped() -> None:
    async def test(made: World) -> None:
        assert not [task.get_name() for task in made.source._tasks if task.done()]
        await made.source.stop()
        assert all(task.cancelled() for task in made.source._tasks)
        await made.until(lambda: not made.server._connections)

    run(test, filled(3))


def test_changes_are_followed_one_by_one() -> None:
    async def test(made: World) -> None:
        await made.server.put(service("new"))
        await made.until(lambda: made.names == ["new"])
        await made.server.put(service("new", 90))
        await made.until(lambda: made.source.snapshot.services[0].spec.ports[0].port == 90)
        await made.server.delete("Service", "shop", "new")
        await made.until(lambda: made.names == [])

    run(test)


def test_a_change_of_fields_that_are_not_used_is_no_change() -> None:
    async def test(made: World) -> None:
        before = made.source.snapshot.services
        beat = {**service("s000"), "status": {"heartbeat": 1}}
        await made.server.put(beat)
        await made.server.put(service("zzz"))
        await made.until(lambda: len(made.names) == 2)
        assert len(made.seen) == 2
        assert made.source.snapshot.services[0] is before[0]

    run(test, filled(1))


def test_what_kube_proxy_does_not_ask_for_never_comes() -> None:
    async def test(made: World) -> None:
        other = service("others", labels={"service.kubernetes.io/service-proxy-name": "theirs"})
        headless = service("headless")
        headless["spec"]["clusterIP"] = "None"
        await made.server.put(other, headless, pod("done", phase="Succeeded"), service("ours"), pod("lives"))
        await made.until(lambda: made.names == ["ours"])
        await made.until(lambda: [one.name for one in made.source.snapshot.pods] == ["lives"])
        await made.server.put(service("ours", labels={"service.kubernetes.io/service-proxy-name": "theirs"}))
        await made.until(lambda: made.names == [])

    run(test)


@pytest.mark.parametrize("reset", [True, False], ids=["reset", "closed in order"])
def test_a_connection_that_ends_is_taken_up_again_without_a_new_list(reset: bool) -> None:
    async def test(made: World) -> None:
        await asyncio.sleep(0.2)
        listed = sum("watch" not in target for target in made.server.requests)
        made.server.cut(reset)
        await made.server.put(service("later"))
        await made.until(lambda: "later" in made.names)
        assert sum("watch" not in target for target in made.server.requests) == listed

    run(test, filled(3))


def test_a_forgotten_version_leads_to_a_new_list_that_also_removes() -> None:
    async def test(made: World) -> None:
        await made.server.stop()
        made.server.store.delete("Service", "shop", "s001")
        made.server.store.put(service("s100", 99))
        made.server.store.compact()
        await made.server.start()
        await made.until(lambda: made.names == ["s000", "s002", "s100"])

    run(test, filled(3))


def test_an_error_event_410_leads_to_a_new_list() -> None:
    async def test(made: World) -> None:
        made.server.inject('{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired"}}')
        await made.server.put(service("later"))
        await made.until(lambda: "later" in made.names)

    run(test, filled(3))


def test_a_page_token_that_expires_starts_the_list_anew() -> None:
    async def test(made: World) -> None:
        made.server.inject('{"type":"ERROR","object":{"kind":"Status","code":410}}')
        made.server.fail = []
        await made.until(lambda: sum("continue=" in target for target in made.server.requests) >= 5)
        made.server.store.compact()
        await made.server.put(service("later"))
        await made.until(lambda: "later" in made.names)
        assert len(made.names) == 31

    run(test, filled(30))


@pytest.mark.parametrize(
    "line",
    ["{", '{"type":"MODIFIED","object":{"metadata":{"name":', "\x00\xff", '{"type":"ADDED"}', '["x"]'],
)
def test_garbage_in_a_watch_costs_nothing_that_is_known(line: str) -> None:
    async def test(made: World) -> None:
        made.server.inject(line)
        await made.server.put(service("later"))
        await made.until(lambda: "later" in made.names)
        assert len(made.names) == 4

    run(test, filled(3))


def test_an_object_that_cannot_be_read_keeps_its_last_good_version_and_is_told() -> None:
    async def test(made: World) -> None:
        broken = service("s001")
        broken["spec"]["ports"][0]["port"] = "eighty"
        await made.server.put(broken, service("later"))
        await made.until(lambda: "later" in made.names)
        assert "s001" in made.names
        (problem,) = made.source.problems
        assert "shop/s001" in str(problem)
        assert "spec.ports[0].port" in str(problem)
        await made.server.put(service("s001", 81))
        await made.until(lambda: not made.source.problems)

    run(test, filled(3))


def test_a_silent_server_is_found_out_and_its_age_told() -> None:
    async def test(made: World) -> None:
        assert made.source.snapshot.age < 1
        made.server.mute = True
        await made.until(lambda: made.source.problems)
        assert made.names == ["s000", "s001", "s002"]
        await asyncio.sleep(0.5)
        assert made.source.snapshot.age > 0.5
        made.server.mute = False
        await made.server.put(service("later"))
        await made.until(lambda: "later" in made.names and not made.source.problems)

    run(test, filled(3))


def test_refusals_are_waited_out_as_long_as_the_server_asks() -> None:
    async def test(made: World) -> None:
        made.server.fail = [(429, {"Retry-After": "1"})] * 2 + [(500, {}), (503, {})]
        made.server.cut()
        await made.server.put(service("later"))
        await made.until(lambda: any("429" in str(one) for one in made.source.problems))
        await made.until(lambda: "later" in made.names and not made.source.problems)

    run(test, filled(3))


def test_a_stream_that_comes_byte_by_byte_is_understood() -> None:
    async def test(made: World) -> None:
        made.server.dribble = True
        await made.server.put(service("slow", labels={"odd": "line\u2028separator"}))
        await made.until(lambda: "slow" in made.names)

    run(test)


def test_the_server_comes_back_changed_and_the_state_is_right_within_five_seconds() -> None:
    async def test(made: World) -> None:
        await made.server.stop()
        await asyncio.sleep(1)
        assert len(made.names) == 30
        made.server.store = Store()
        for index in range(20):
            made.server.store.put(service(f"t{index:03}", 80 + index))
        made.server.store.version += 1000
        made.server.store.compact()
        await made.server.start()
        await made.until(lambda: made.names == [f"t{index:03}" for index in range(20)], timeout=5)

    run(test, filled(30))


def policy(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    versions = {"NetworkPolicy": "networking.k8s.io/v1", "ClusterNetworkPolicy": "policy.networking.k8s.io/v1alpha2"}
    metadata = {"name": name, "namespace": "shop" if kind == "NetworkPolicy" else ""}
    return {"apiVersion": versions[kind], "kind": kind, "metadata": metadata, "spec": spec}


def test_policies_of_both_kinds_are_heard_as_the_server_would_default_them() -> None:
    store = Store()
    store.put(policy("NetworkPolicy", "web", {"podSelector": {}, "egress": [{}]}))
    subject = {"namespaces": {}}
    store.put(policy("ClusterNetworkPolicy", "base", {"tier": "Baseline", "priority": 7, "subject": subject}))

    async def test(made: World) -> None:
        (web,), (base,) = made.source.snapshot.policies, made.source.snapshot.cluster_policies
        assert [one.value for one in web.spec.policy_types] == ["Ingress", "Egress"]
        assert (base.ref.namespace, base.spec.priority) == ("", 7)
        assert not made.source.snapshot.unread
        made.server.store.delete("NetworkPolicy", "shop", "web")
        await made.until(lambda: not made.source.snapshot.policies)

    run(test, store)


def test_a_policy_of_which_no_version_was_understood_is_named() -> None:
    store = Store()
    store.put(policy("NetworkPolicy", "odd", {"podSelector": {}, "policyTypes": ["Sideways"]}))
    store.put(policy("NetworkPolicy", "web", {"podSelector": {}}))

    async def test(made: World) -> None:
        assert [one.name for one in made.source.snapshot.policies] == ["web"]
        assert made.source.snapshot.unread == ("NetworkPolicy shop/odd",)
        made.server.store.put(policy("NetworkPolicy", "web", {"podSelector": {}, "policyTypes": ["Sideways"]}))
        await made.until(lambda: len(made.source.problems) == 2)
        assert made.source.snapshot.unread == ("NetworkPolicy shop/odd",)

    run(test, store)


def test_shields_come_from_the_api_server_as_well() -> None:
    async def test(made: World) -> None:
        spec = {"deny": [{"name": "known", "cidrs": ["192.0.2.0/24"]}]}
        await made.server.put({"kind": "Shield", "metadata": {"name": "edge"}, "spec": spec})
        await made.until(lambda: bool(made.source.snapshot.shields))
        (found,) = made.source.snapshot.shields
        assert (str(found.ref), found.spec.deny[0].cidrs) == ("Shield edge", ("192.0.2.0/24",))

    run(test)
