"""What a real API server does that one does not think of: how it writes, compresses, forgets and falls silent."""

from __future__ import annotations

import asyncio
import json
import random
from dataclasses import replace
from typing import Any

import pytest

from daemon.sources.kubernetes import wire
from daemon.sources.kubernetes.wire import ApiError
from tests.support import apiserver_samples as samples
from tests.support.apiserver_store import Store
from tests.unit.sources.test_kubernetes import HASTY, World, filled, run, service, world


def endpoint_slice(name: str, **more: Any) -> dict[str, Any]:
    labels = {"kubernetes.io/service-name": name}
    meta = {"name": f"{name}-x", "namespace": "shop", "labels": labels}
    return {"kind": "EndpointSlice", "metadata": meta, "addressType": "IPv4", "ports": [{"port": 80}], **more}


def lists(made: World, path: str) -> int:
    return sum(target.startswith(path) and "watch=1" not in target for target in made.server.requests)


def watches(made: World, path: str) -> int:
    return sum(target.startswith(path) and "watch=1" in target for target in made.server.requests)


SERVICES = "/api/v1/services"
ONE = [{"addresses": ["10.9.0.1"], "conditions": {"ready": None}, "hints": None, "deprecatedTopology": {"rack": "7"}}]


def test_a_slice_that_loses_its_last_endpoint_is_empty_and_not_broken() -> None:
    store = Store()
    store.put(endpoint_slice("idle", endpoints=[], ports=[]))
    store.put(endpoint_slice("busy", endpoints=ONE))

    async def test(made: World) -> None:
        busy, idle = made.source.snapshot.slices
        assert (idle.endpoints, idle.ports) == ((), ())
        assert busy.endpoints[0].ready
        await made.server.put(endpoint_slice("busy", endpoints=[]))
        await made.until(lambda: not made.source.snapshot.slices[0].endpoints)
        assert not made.source.problems

    run(test, store)


def test_a_long_list_comes_compressed() -> None:
    store = Store()
    for index in range(7):
        store.put(service(f"s{index}", annotations={"note": "x" * 30_000}))

    async def test(made: World) -> None:
        assert len(made.names) == 7
        assert made.server.compressed == 1

    run(test, store)


def test_an_object_of_more_than_a_megabyte_is_one_line_and_understood() -> None:
    async def test(made: World) -> None:
        await made.server.put(service("large", annotations={"note": "x" * 1_500_000}))
        await made.until(lambda: made.names == ["large"])

    run(test)


def test_a_watch_in_which_nothing_is_said_is_asked_for_anew_and_is_no_trouble() -> None:
    async def test(made: World) -> None:
        began = watches(made, SERVICES)
        seen = []
        async with asyncio.timeout(10):
            while watches(made, SERVICES) < began + 3:
                seen += made.source.problems
                await asyncio.sleep(0.01)
        assert not seen
        assert made.source.snapshot.age < 1
        assert lists(made, SERVICES) == 1
        await made.server.put(service("later"))
        await made.until(lambda: "later" in made.names)

    run(test, filled(3))


def test_a_watch_whose_version_is_forgotten_begins_and_tells_so_by_its_first_event() -> None:
    async def test(made: World) -> None:
        made.server.store.put(service("later"))
        made.server.store.compact()
        made.server.cut()
        await made.until(lambda: "later" in made.names)
        assert lists(made, SERVICES) == 2

    run(test, filled(3))


def test_a_server_that_forgets_between_two_pages_is_listed_from_the_beginning() -> None:
    async def test(made: World) -> None:
        made.server.forgetful = True
        made.server.store.delete("Service", "shop", "s000")
        made.server.cut()
        await made.until(lambda: "too old resource version" in str(made.source.problems))
        assert len(made.names) == 30
        made.server.forgetful = False
        await made.until(lambda: len(made.names) == 29 and not made.source.problems)

    run(test, filled(30))


def test_a_list_that_is_not_finished_does_not_make_broken_objects_forgotten() -> None:
    store = filled(30)
    store.put({**service("odd"), "spec": {"ports": "eighty"}})

    async def test(made: World) -> None:
        assert "shop/odd" in str(made.source.problems)
        made.server.forgetful = True
        made.server.cut()
        await made.until(lambda: "too old resource version" in str(made.source.problems))
        assert "shop/odd" in str(made.source.problems)
        made.server.forgetful = False
        made.server.store.delete("Service", "shop", "odd")
        await made.until(lambda: not made.source.problems)

    run(test, store)


def test_a_server_that_ends_every_watch_at_once_is_not_asked_without_a_pause() -> None:
    async def test() -> None:
        async with world(filled(3), replace(HASTY, watch=0.01, wait=0.2, wait_limit=5.0)) as made:
            made.server.watch_limit = 0.0
            made.server.cut()
            await made.until(lambda: "ended the watch at once" in str(made.source.problems))
            asked = len(made.server.requests)
            await asyncio.sleep(0.5)
            assert len(made.server.requests) - asked < 8 * 8
            made.server.watch_limit = 300.0
            await made.server.put(service("later"))
            await made.until(lambda: "later" in made.names and not made.source.problems, timeout=10)

    asyncio.run(test())


def test_a_server_that_forgets_every_version_at_once_is_listed_less_and_less_often() -> None:
    async def test() -> None:
        async with world(filled(3), replace(HASTY, wait=0.1, wait_limit=5.0)) as made:
            made.server.forgetful = True
            made.server.cut()
            await made.until(lambda: lists(made, SERVICES) >= 4)
            before = lists(made, SERVICES)
            await asyncio.sleep(0.5)
            assert lists(made, SERVICES) - before <= 2
            made.server.forgetful = False
            await made.server.put(service("later"))
            await made.until(lambda: "later" in made.names and not made.source.problems, timeout=10)

    asyncio.run(test())


def test_a_stranger_who_answers_with_an_empty_object_empties_nothing() -> None:
    async def test(made: World) -> None:
        made.server.fail = [(200, {})] * 8
        made.server.inject('{"type":"ERROR","object":{"code":410}}')
        await made.until(lambda: "something else than a list" in str(made.source.problems))
        assert len(made.names) == 3
        await made.until(lambda: not made.server.fail and not made.source.problems)
        assert len(made.names) == 3

    run(test, filled(3))


@pytest.mark.parametrize("body", [b"{}", b'{"status":"ok"}', b'{"metadata":{},"items":[]}', b"[]", b"<html>"])
def test_what_is_no_list_is_refused(body: bytes) -> None:
    with pytest.raises(ApiError):
        wire.page(body)


def test_an_empty_list_may_be_null() -> None:
    assert wire.page(b'{"metadata":{"resourceVersion":"7"},"items":null}').items is None


@pytest.mark.parametrize(("asked", "header", "wait"), [(1, 0.0, 1.0), (0, 3.0, 3.0), (600, 0.0, 30.0)])
def test_how_long_to_wait_is_read_from_header_and_status_and_has_a_limit(
    asked: int, header: float, wait: float
) -> None:
    causes = [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]
    details = {"retryAfterSeconds": asked, "causes": causes} if asked else None
    told = {"kind": "Status", "code": 504, "reason": "Timeout", "message": "Too large", "details": details}
    error = wire.failure(json.dumps(told).encode(), 504, header)
    assert (error.code, error.retry_after) == (504, wait)
    assert "Too large" in str(error)


def test_who_asks_for_json_says_so_and_gives_a_name() -> None:
    async def test(made: World) -> None:
        assert made.server.headers["accept"] == "application/json"
        assert made.server.headers["user-agent"] == "remora"

    run(test)


def test_all_that_a_server_writes_is_read_without_a_complaint() -> None:
    store = Store()
    for one in samples.ALL:
        store.put(one)

    async def test(made: World) -> None:
        found = made.source.snapshot
        assert not found.problems
        assert not found.unread
        assert [len(kind) for kind in (found.services, found.slices, found.pods, found.nodes)] == [3, 2, 1, 1]
        hinted, named = found.slices
        assert [one.ready for one in hinted.endpoints] == [True, True]
        assert [one.port for one in hinted.ports] == [0, 8080]
        assert hinted.endpoints[0].hints.for_nodes[0].name == "n1"
        assert (named.address_type.value, named.ports) == ("FQDN", ())
        (pod,) = found.pods
        assert pod.addresses == ("10.9.0.1", "fd00::1")
        assert [one.container_port for one in pod.ports] == [8080, 15001]
        (rule,) = found.cluster_policies[0].spec.egress
        assert rule.peers[0].namespaces is None

    run(test, store)


def test_after_a_thousand_faults_the_source_knows_what_the_server_knows() -> None:
    dice = random.Random(2026)

    async def fault(made: World) -> None:
        server = made.server
        match dice.randrange(11):
            case 0:
                server.cut(reset=True)
            case 1:
                server.cut(reset=False)
            case 2:
                server.store.compact()
                server.cut()
            case 3:
                server.inject('{"type":"ERROR","object":{"code":410}}')
            case 4:
                server.inject('{"type":"MODIFIED","obj')
            case 5:
                server.fail = [(dice.choice([429, 500, 503, 504]), {})] * dice.randrange(1, 3)
                server.cut()
            case 6:
                server.dribble = not server.dribble
            case 7:
                await server.stop()
                await server.start()
            case 8:
                server.inject('{"type":"ERROR","object":{"code":500,"message":"etcd"}}')
            case 9:
                server.watch_limit = dice.choice([0.0, 0.01, 3600.0])
            case 10:
                server.forgetful = not server.forgetful

    async def test(made: World) -> None:
        for step in range(1000):
            name = f"s{dice.randrange(40):03}"
            known = ("shop", name) in made.server.store.objects["/api/v1/services"]
            if known and dice.random() < 0.4:
                await made.server.delete("Service", "shop", name)
            else:
                await made.server.put(service(name, dice.randrange(1, 60000)))
            await fault(made)
            await asyncio.sleep(dice.random() * 0.006)
            if step % 100 == 99:
                made.server.watch_limit, made.server.forgetful = 3600.0, False
                await made.until(lambda: ports(made) == wanted(made), timeout=10)

    run(test, filled(10))


def ports(made: World) -> dict[str, int]:
    return {one.name: one.spec.ports[0].port for one in made.source.snapshot.services}


def wanted(made: World) -> dict[str, int]:
    objects = made.server.store.objects["/api/v1/services"]
    return {name: one["spec"]["ports"][0]["port"] for (_, name), one in objects.items()}
