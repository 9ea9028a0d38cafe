"""Policy tables that differ in everything but in what they say of two ports.

The client's class, the server's rulesets and the networks change all at once, and each ruleset knows only the class
that the client has beside it. So a look at half a change would shut the port that is always open.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from daemon.policy.reconcile import Guard
from daemon.policy.table import Action, Entry, Isolation, PolicyTable, Ruleset
from ebpf.addresses import pack
from tests.support.policies import Object, cluster_policy, namespace, pod, policy

ALWAYS, NEVER = 7001, 7002
CHANGING = tuple(range(7010, 7018))
_UDP = 17
_CLASSES = range(16, 32)
_KEYS, _VALUES = ("app", "team", "tier"), ("a", "b", "c")


@dataclass(frozen=True)
class World:
    """A table, what restricts the server in it, and which of the changing ports are open."""

    table: PolicyTable
    isolation: Isolation
    open: frozenset[int]


def world(generator: random.Random, client: str, server: str, number: int) -> World:
    """A random one. Numbers must not repeat in an agent's life."""
    own, *others = generator.sample(_CLASSES, k=6)
    opened = frozenset(port for port in CHANGING if generator.random() < 0.5)
    entries = [Entry(own, _UDP, port, 16, Action.ALLOW, 1) for port in (ALWAYS, *sorted(opened))]
    entries += [Entry(other, 0, 0, 0, Action.DENY, 2) for other in others]
    entries += [Entry(own, _UDP, NEVER, 16, Action.DENY, 3)] if generator.random() < 0.5 else []
    classes, networks = {pack(server): generator.choice(others)}, {}
    if generator.random() < 0.5:
        classes[pack(client)] = own
    else:
        networks[pack(client), 128] = own
    ruleset = Ruleset(number, tuple(entries), Action.DENY, 9, default_audit=False)
    return World(PolicyTable(classes, networks, {number: ruleset}), Isolation(number, 0), opened)


def guards(made: World, ifindex: int) -> dict[int, Guard]:
    """The server's guard, by its device."""
    return {ifindex: Guard(made.isolation)}


def objects(generator: random.Random, client: str, server: str) -> tuple[list[Object], frozenset[int]]:
    """The same as policies: who the client is, and by what the server knows it, changes every time."""
    opened = frozenset(port for port in CHANGING if generator.random() < 0.5)
    label = {generator.choice(_KEYS): generator.choice(_VALUES)}
    peers: list[dict[str, object]] = [
        {"podSelector": {"matchLabels": label}},
        {"namespaceSelector": {"matchLabels": label}, "podSelector": {}},
        {"ipBlock": {"cidr": f"{client}/{generator.randint(30, 32)}"}},
    ]
    decoy = {"podSelector": {"matchLabels": {generator.choice(_KEYS): "nobody"}}}
    ports = [{"protocol": "UDP", "port": port} for port in (ALWAYS, *sorted(opened))]
    rules = [{"from": [decoy]}, {"from": [generator.choice(peers)], "ports": ports}]
    found: list[Object] = [
        namespace("town", **label),
        pod("town/client", client, label),
        pod("town/server", server, {"role": "server"}),
        policy("town/server", podSelector={"matchLabels": {"role": "server"}}, ingress=rules),
    ]
    if generator.random() < 0.5:
        never = [{"udp": {"destinationPort": {"number": NEVER}}}]
        denied = [{"action": "Deny", "from": [{"namespaces": {}}], "protocols": never}]
        found.append(cluster_policy("never", ingress=denied))
    return found, opened
