"""What the API server does not allow: named with the rule that is missing, and never taken for nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from daemon.sources.kubernetes import source as source_module
from tests.support.apiserver_store import PATHS, Store
from tests.unit.sources.test_kubernetes import HASTY, World, policy, service, world

POLICIES = ("NetworkPolicy", "ClusterNetworkPolicy")
NEEDED = ("Service", "EndpointSlice", "Pod", "Namespace", "Node")


def run(test: Callable[[World], Awaitable[None]], *forbidden: str, absent: tuple[str, ...] = ()) -> None:
    store = Store()
    store.put(service("web"))
    store.put(policy("NetworkPolicy", "web", {"podSelector": {}}))

    async def body() -> None:
        async with world(store, forbidden=forbidden, absent=absent) as made:
            await test(made)

    asyncio.run(body())


def told(made: World) -> str:
    return "\n".join(map(str, made.source.problems))


@pytest.mark.parametrize("kind", POLICIES)
def test_a_kind_of_policies_that_is_forbidden_holds_nothing_else_back_and_is_not_taken_for_none(kind: str) -> None:
    resource = PATHS[kind].rpartition("/")[2]

    async def test(made: World) -> None:
        assert made.names == ["web"]
        assert made.source.snapshot.withheld == (resource,)
        await made.server.put(service("other"))
        await made.until(lambda: made.names == ["other", "web"])
        assert f"{resource} cannot be read" in told(made)

    run(test, kind)


def test_the_missing_rule_is_named_with_who_lacks_it_and_what_holds_meanwhile() -> None:
    async def test(made: World) -> None:
        words = told(made)
        assert 'User "system:serviceaccount:kube-system:remora" cannot list resource "networkpolicies"' in words
        assert 'apiGroups: ["networking.k8s.io"], resources: [networkpolicies], verbs: [list, watch]' in words
        assert "deploy/kubernetes/base/rbac.yaml" in words
        assert "what an earlier agent enforced stays in force" in words

    run(test, "NetworkPolicy")


def test_what_is_allowed_at_last_is_read_without_a_restart() -> None:
    async def test(made: World) -> None:
        assert not made.source.snapshot.policies
        made.server.forbidden.clear()
        await made.until(lambda: made.source.snapshot.policies and not made.source.snapshot.withheld)
        assert not made.source.problems

    run(test, *POLICIES)


@pytest.mark.parametrize("kind", NEEDED)
def test_without_a_kind_that_is_needed_nothing_is_handed_out_until_it_may_be_read(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_module, "FIRST_SYNC", 0.3)

    async def test(made: World) -> None:
        assert not made.seen
        assert "nothing is programmed until it can be read" in told(made)
        made.server.forbidden.clear()
        await made.until(lambda: made.names == ["web"] and not made.source.problems)

    run(test, kind)


def test_a_right_that_is_taken_away_keeps_what_is_known() -> None:
    async def test(made: World) -> None:
        made.server.forbidden.update(POLICIES)
        made.server.cut()
        await made.until(lambda: "clusternetworkpolicies cannot be read" in told(made))
        assert "what is known stays in force" in told(made)
        assert [one.name for one in made.source.snapshot.policies] == ["web"]
        assert not made.source.snapshot.withheld

    run(test)


def test_a_server_that_has_just_started_and_knows_no_rules_yet_is_asked_again_soon() -> None:
    async def body() -> None:
        async with world(patience=replace(HASTY, wait=0.02, refused=60.0)) as made:
            await made.server.stop()
            await asyncio.sleep(1)
            made.server.forbidden.update(NEEDED)
            await made.server.start()
            await made.until(lambda: "services cannot be read" in told(made))
            made.server.forbidden.clear()
            await made.server.put(service("later"))
            await made.until(lambda: made.names == ["later"] and not made.source.problems)

    asyncio.run(body())


def test_a_failure_of_another_kind_in_between_does_not_hold_services_back() -> None:
    async def test(made: World) -> None:
        made.server.fail = [(500, {})] * 3
        await made.server.put(service("other"))
        await made.until(lambda: made.names == ["other", "web"] and not made.server.fail)

    run(test, "NetworkPolicy")


def test_an_absent_kind_that_is_optional_is_none_and_any_other_is_told() -> None:
    async def optional(made: World) -> None:
        assert made.names == ["web"]
        assert not made.source.problems
        assert not made.source.snapshot.withheld

    async def other(made: World) -> None:
        assert made.source.snapshot.withheld == ("networkpolicies",)
        assert "is `api_server`" in told(made)

    run(optional, absent=("ClusterNetworkPolicy",))
    run(other, absent=("NetworkPolicy",))


def test_a_kind_that_is_served_in_another_version_is_not_taken_for_none() -> None:
    async def test(made: World) -> None:
        made.server.served_as["ClusterNetworkPolicy"] = "v1"
        await made.until(lambda: "the cluster has it as version v1 only, and this agent reads v1alpha2" in told(made))
        made.server.served_as.clear()
        await made.until(lambda: not made.source.problems)

    run(test, absent=("ClusterNetworkPolicy",))


def test_a_kind_with_objects_is_not_believed_to_be_gone() -> None:
    """Who deletes a kind has its objects deleted first, each with an event; what says 404 all at once is a stranger."""

    async def test(made: World) -> None:
        subject = {"namespaces": {}}
        spec = {"tier": "Admin", "priority": 7, "subject": subject}
        await made.server.put(policy("ClusterNetworkPolicy", "base", spec))
        await made.until(lambda: made.source.snapshot.cluster_policies)
        made.server.absent.update(POLICIES)
        made.server.store.compact()
        made.server.cut()
        await made.until(lambda: "clusternetworkpolicies cannot be read" in told(made))
        assert made.source.snapshot.cluster_policies
        made.server.served_as["ClusterNetworkPolicy"] = "v1"
        await made.until(lambda: "as version v1 only" in told(made))
        assert made.source.snapshot.cluster_policies

    run(test)
