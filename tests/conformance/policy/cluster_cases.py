"""The 24 tests of the ClusterNetworkPolicy conformance suite, in data of our own.

Four namespaces of two pods each serve TCP 80 (web) and 8080, UDP 53 (dns) and 5353, SCTP 9003 and 9005; the pods of
a fifth have the host's network. `red` is the subject throughout. What the suite patches while it runs is a step here.
"""

from __future__ import annotations

from typing import Any

from daemon.model.policies import ClusterNetworkPolicy
from tests.support.policies import Object, cluster_policy, containers, namespace, node, pod, policy
from tests.support.policy_cases import Case, Expectation, Step

SPACES = ("red", "green", "blue", "gray")
PORTS = {"TCP": (80, 8080), "UDP": (53, 5353), "SCTP": (9003, 9005)}
SERVED = containers(("web", "TCP", 80), ("dns", "UDP", 53))
NODE = "10.99.0.2"
INTERNET = {"networks": ["0.0.0.0/0", "::/0"]}
NODES = {"nodes": {"matchLabels": {"kubernetes.io/os": "linux"}}}

CLUSTER: tuple[Object, ...] = (
    *(namespace(space, house=space) for space in (*SPACES, "host")),
    *(
        pod(
            f"{space}/{number}",
            f"10.244.{place}.{number + 1} fd00:{place}::{number + 1}",
            {"house": space},
            containers=SERVED,
        )
        for place, space in enumerate(SPACES)
        for number in (0, 1)
    ),
    pod("host/0", NODE, {"house": "host"}, hostNetwork=True),
    node("worker", NODE, **{"kubernetes.io/os": "linux"}),
)

Rule = dict[str, Any]


def of(space: str) -> Rule:
    return {"namespaces": {"matchLabels": {"house": space}}}


def ports(**numbers: int) -> list[Rule]:
    return [{name: {"destinationPort": {"number": number}}} for name, number in numbers.items()]


def rule(action: str, *peers: Rule, protocols: list[Rule] | None = None) -> Rule:
    """`peers` go to "from" or "to" later, see `subject`."""
    found: Rule = {"action": action, "peers": list(peers)}
    return found if protocols is None else {**found, "protocols": protocols}


def subject(tier: str, priority: int = 10, name: str = "c", **directions: list[Rule]) -> ClusterNetworkPolicy:
    """A policy for the pods of red; directions are "ingress" and "egress"."""
    sides = {"ingress": "from", "egress": "to"}
    spec = {
        direction: [
            {sides[direction]: one["peers"], **{key: value for key, value in one.items() if key != "peers"}}
            for one in rules
        ]
        for direction, rules in directions.items()
    }
    return cluster_policy(name, tier=tier, priority=priority, subject=of("red"), **spec)


def step(*objects: Object, expected: list[Expectation]) -> Step:
    return Step((*CLUSTER, *objects), tuple(expected))


def poke(direction: str, peer: str, port: str, passes: bool) -> list[Expectation]:
    """Between both pods of red and a peer, from red for egress and to it for ingress."""
    pairs = [("red/0", f"{peer}/1"), ("red/1", f"{peer}/0")]
    return [Expectation(*(pair if direction == "egress" else (pair[1], pair[0])), port, passes) for pair in pairs]


def with_protocol(tier: str, direction: str, protocol: str) -> Case:
    """Everything by namespace, and one protocol's ports: accept, deny and, in the Admin tier, pass."""
    low, high = PORTS[protocol]
    at_low, at_high = ports(**{protocol.lower(): low}), ports(**{protocol.lower(): high})
    accept, deny = rule("Accept", of("green")), rule("Deny", of("green"))
    passing = [rule("Pass", of("green"))] if tier == "Admin" else []
    blue = [rule("Deny", of("blue"), protocols=at_low)]
    gray = [rule("Accept", of("gray"), protocols=at_high), rule("Deny", of("gray"))]
    low_port, high_port = f"{low}/{protocol}", f"{high}/{protocol}"
    some = [
        *poke(direction, "blue", low_port, False),
        *poke(direction, "blue", high_port, True),
        *poke(direction, "gray", high_port, True),
        *poke(direction, "gray", low_port, False),
    ]
    orders = [([accept, deny, *passing], True), ([deny, accept, *passing], False)]
    if passing:
        orders.append(([*passing, deny, accept], True))
        blue.append(rule("Pass", of("blue"), protocols=at_low))
    steps = [
        step(
            subject(tier, **{direction: [*green, *blue, *gray]}),
            expected=[*poke(direction, "green", low_port, opened), *poke(direction, "green", high_port, opened), *some],
        )
        for green, opened in orders
    ]
    if passing:
        turned = [*orders[0][0], *reversed(blue), *gray]
        expected = [*poke(direction, "blue", low_port, True), *poke(direction, "blue", high_port, True)]
        steps.append(step(subject(tier, **{direction: turned}), expected=expected))
    return Case(f"{tier}, {direction}, {protocol}", tuple(steps))


def gress(tier: str) -> Case:
    """Both directions and all protocols in one policy."""
    lows = ports(tcp=80, udp=53, sctp=9003)
    accept, deny = rule("Accept", of("green")), rule("Deny", of("green"))
    out = rule("Accept", of("gray"), protocols=ports(tcp=8080, udp=5353, sctp=9003))
    into = rule("Accept", of("gray"), protocols=ports(tcp=80, udp=5353, sctp=9003))
    rest = rule("Deny", of("gray"))
    blue = rule("Deny", of("blue"), protocols=lows)
    steps = []
    orders = [(accept, deny, True), (deny, accept, False)]
    if tier == "Admin":
        orders.append((rule("Pass", of("green")), deny, True))
    for first, second, opened in orders:
        expected = []
        for direction, tcp in (("egress", (8080, 80)), ("ingress", (80, 8080))):
            for port in ("80/TCP", "53/UDP", "9003/SCTP"):
                expected += poke(direction, "green", port, opened) + poke(direction, "blue", port, False)
            for port in ("8080/TCP", "5353/UDP", "9005/SCTP"):
                expected += poke(direction, "blue", port, True)
            for port in (f"{tcp[0]}/TCP", "5353/UDP", "9003/SCTP"):
                expected += poke(direction, "gray", port, True)
            for port in (f"{tcp[1]}/TCP", "53/UDP", "9005/SCTP"):
                expected += poke(direction, "gray", port, False)
        egress, ingress = [first, second, blue, out, rest], [first, second, blue, into, rest]
        steps.append(step(subject(tier, egress=egress, ingress=ingress), expected=expected))
    return Case(f"{tier}, both directions", tuple(steps))


def named_port(tier: str, direction: str) -> Case:
    """A port by the name that the destination gives it."""
    web = [{"destinationNamedPort": "web"}]
    rules = [rule("Accept", of("green"), protocols=web), rule("Deny", of("green"))]
    expected = [*poke(direction, "green", "80/TCP", True), *poke(direction, "green", "8080/TCP", False)]
    return Case(f"{tier}, {direction}, named port", (step(subject(tier, **{direction: rules}), expected=expected),))


def node_peers(tier: str) -> Case:
    """Some ports of nodes, and nothing else outside."""
    rules = [rule("Accept", NODES, protocols=ports(tcp=34_345))]
    expected = [Expectation("red/0", NODE, "34345/TCP", True), Expectation("red/1", NODE, "34346/TCP", False)]
    expected += [
        Expectation("red/0", NODE, "34347/UDP", tier == "Admin"),
        Expectation("red/1", NODE, "34348/UDP", False),
    ]
    if tier == "Admin":
        rules.append(rule("Pass", NODES, protocols=ports(udp=34_347)))
    rules.append(rule("Deny", of("blue"), NODES, INTERNET))
    expected += poke("egress", "blue", "80/TCP", False)
    return Case(f"{tier}, egress, nodes", (step(subject(tier, egress=rules), expected=expected),))


def networks(tier: str) -> Case:
    """Single addresses before, pods before, and everything after."""
    pods, rest = rule("Accept", of("blue")), rule("Deny", INTERNET)
    singles = rule("Accept", {"networks": ["10.244.1.1/32", "10.244.3.0/24", "fd00:1::1/128", "fd00:3::/32"]})
    everywhere = [("green", False), ("blue", True), ("gray", False)]
    first = [one for peer, opened in everywhere for one in poke("egress", peer, "80/TCP", opened)]
    second = [
        Expectation("red/0", "green/0", "80/TCP", True),
        Expectation("red/0", "green/1", "80/TCP", False),
        Expectation("red/1", "gray/1", "53/UDP", True),
        Expectation("red/1", "blue/1", "9003/SCTP", True),
        Expectation("red/1", "10.98.0.1", "443/TCP", False),
        Expectation("red/1", "fd98::1", "443/TCP", False),
    ]
    return Case(
        f"{tier}, egress, networks",
        (
            step(subject(tier, egress=[pods, rest]), expected=first),
            step(subject(tier, egress=[singles, pods, rest]), expected=second),
        ),
    )


def integration() -> Case:
    """Admin before NetworkPolicy before Baseline, and Pass from one to the next."""
    peers = [{"namespaceSelector": {"matchLabels": {"house": "blue"}}}]
    allow = policy("red/allow", policyTypes=["Ingress", "Egress"], ingress=[{"from": peers}], egress=[{"to": peers}])
    deny, passing = rule("Deny", of("blue")), rule("Pass", of("blue"))
    base = subject("Baseline", name="base", ingress=[deny], egress=[deny])

    def state(ingress: Rule, egress: Rule, *others: Object, opened: tuple[bool, bool]) -> Step:
        expected = [
            one
            for direction, passes in zip(("ingress", "egress"), opened, strict=True)
            for port in ("80/TCP", "8080/TCP")
            for one in poke(direction, "blue", port, passes)
        ]
        return step(subject("Admin", ingress=[ingress], egress=[egress]), base, *others, expected=expected)

    return Case(
        "Admin, NetworkPolicy and Baseline",
        (
            state(deny, deny, allow, opened=(False, False)),
            state(passing, deny, allow, opened=(True, False)),
            state(passing, passing, allow, opened=(True, True)),
            state(passing, passing, opened=(False, False)),
        ),
    )


def priority() -> Case:
    """The lower number first: a pass at 60 comes after a denial at 50, at 40 before it."""
    deny, passing, accept = (rule(action, of("blue")) for action in ("Deny", "Pass", "Accept"))
    fixed = subject("Admin", 50, "fixed", ingress=[deny], egress=[deny])
    base = subject("Baseline", name="base", ingress=[accept], egress=[accept])
    steps = []
    for number, opened in ((60, False), (40, True)):
        moved = subject("Admin", number, "moved", ingress=[passing], egress=[passing])
        expected = [
            one
            for direction in ("ingress", "egress")
            for port in ("80/TCP", "8080/TCP")
            for one in poke(direction, "blue", port, opened)
        ]
        steps.append(step(fixed, moved, base, expected=expected))
    return Case("Admin, priority", tuple(steps))


CASES = [
    *(
        make
        for tier in ("Admin", "Baseline")
        for make in (
            named_port(tier, "egress"),
            named_port(tier, "ingress"),
            node_peers(tier),
            networks(tier),
            gress(tier),
            *(with_protocol(tier, direction, protocol) for direction in ("egress", "ingress") for protocol in PORTS),
        )
    ),
    integration(),
    priority(),
]
