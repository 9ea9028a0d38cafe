"""The 48 enforcement cases of the upstream end-to-end tests for NetworkPolicy, in data of our own.

Nine pods, a, b and c in each of the namespaces x, y and z, serve ports 80 and 81 of TCP, UDP and SCTP under the names
serve-80-tcp and so on. Each case says after each step who of them reaches whom.
"""

from __future__ import annotations

from typing import Any

from daemon.model.policies import NetworkPolicy
from tests.support.policies import Object, containers, namespace, pod, policy
from tests.support.policy_cases import Case, Matrix, Step

SPACES, NAMES = "xyz", "abc"
PODS = tuple(f"{space}/{name}" for space in SPACES for name in NAMES)
ADDRESSES = {name: f"192.168.{10 + index // 3}.{1 + index % 3}" for index, name in enumerate(PODS)}
SERVED = containers(
    *((f"serve-{port}-{name.lower()}", name, port) for name in ("TCP", "UDP", "SCTP") for port in (80, 81))
)

BOTH = ["Ingress", "Egress"]
OF_A = {"matchLabels": {"pod": "a"}}


def everyone() -> Matrix:
    return Matrix(PODS)


def cluster(
    pods: dict[str, dict[str, str]] | None = None, spaces: dict[str, dict[str, str]] | None = None
) -> tuple[Object, ...]:
    """The nine pods in their namespaces, some with more labels."""
    more_of_pods, more_of_spaces = pods or {}, spaces or {}
    return (
        *(namespace(space, ns=space, **more_of_spaces.get(space, {})) for space in SPACES),
        *(
            pod(name, ADDRESSES[name], {"pod": name[-1], **more_of_pods.get(name, {})}, containers=SERVED)
            for name in PODS
        ),
    )


def step(matrix: Matrix, *policies: NetworkPolicy, port: str = "80/TCP", **labels: Any) -> Step:
    return Step((*cluster(**labels), *policies), matrix.expected(port))


def pods(**labels: str) -> dict[str, Any]:
    return {"podSelector": {"matchLabels": labels}}


def spaces(**labels: str) -> dict[str, Any]:
    return {"namespaceSelector": {"matchLabels": labels}}


def among(kind: str, key: str, operator: str, *values: str) -> dict[str, Any]:
    return {kind: {"matchExpressions": [{"key": key, "operator": operator, "values": list(values)}]}}


def to_a(*peers: dict[str, Any], name: str = "p", **rule: Any) -> NetworkPolicy:
    """For x/a, one ingress rule."""
    return policy(f"x/{name}", podSelector=OF_A, policyTypes=["Ingress"], ingress=[{"from": list(peers), **rule}])


def from_a(*peers: dict[str, Any], name: str = "p", **rule: Any) -> NetworkPolicy:
    """For x/a, one egress rule."""
    return policy(f"x/{name}", podSelector=OF_A, policyTypes=["Egress"], egress=[{"to": list(peers), **rule}])


def in_x(name: str = "p", **spec: Any) -> NetworkPolicy:
    return policy(f"x/{name}", **spec)


def only(*sources: str) -> Matrix:
    """x/a is reached from these alone."""
    matrix = everyone().deny(destination="x/a")
    for source in sources:
        matrix.allow(source, "x/a")
    return matrix


def case(name: str, *steps: Step) -> Case:
    return Case(name, steps)


def block(name: str, length: int, *holes: tuple[str, int]) -> dict[str, Any]:
    excepted = [f"{ADDRESSES[hole]}/{bits}" for hole, bits in holes]
    return {"ipBlock": {"cidr": f"{ADDRESSES[name]}/{length}", "except": excepted}}


DENY = in_x("deny", policyTypes=["Ingress"])
DENY_ALL = in_x("deny", policyTypes=BOTH)
OPEN = in_x("open", policyTypes=["Ingress"], ingress=[{}])
NO_INGRESS = everyone().deny(destination="x/*")
NAMED_80, NAMED_81 = {"ports": [{"port": "serve-80-tcp"}]}, {"ports": [{"port": "serve-81-tcp"}]}
NOT_X = among("namespaceSelector", "ns", "NotIn", "x")
UPDATED = spaces(ns2="updated")
UPDATED_POD = pods(pod="b", pod2="updated")
PODS_OF_X = in_x(policyTypes=["Ingress"], ingress=[{"from": [{"podSelector": {}}]}])
ISOLATED = in_x(podSelector={"matchLabels": {"target": "isolated"}}, policyTypes=["Ingress"])
EGRESS_OPEN = in_x("open", policyTypes=["Egress"], egress=[{}])
EGRESS_DENY = in_x("deny", policyTypes=["Egress"])


def selecting() -> list[Case]:
    """Who is a peer."""
    x_b = {"podSelector": {"matchLabels": {"pod": "b"}}}
    y_name = "kubernetes.io/metadata.name"
    return [
        case("deny all ingress of a namespace", step(NO_INGRESS, DENY)),
        case("deny everything of a namespace", step(everyone().deny("x/*").deny(destination="x/*"), DENY_ALL)),
        case("allow pods of the own namespace by label", step(only("x/b"), to_a(x_b))),
        case(
            "allow ingress of one target in a closed namespace",
            step(everyone().deny(destination="x/*").allow(destination="x/a"), DENY, to_a({"namespaceSelector": {}})),
        ),
        case("allow pods of all namespaces", step(everyone(), to_a({"namespaceSelector": {}}))),
        case("allow another namespace by label", step(only("y/*"), to_a(spaces(ns="y")))),
        case("select pods by expression", step(only("x/b"), to_a(among("podSelector", "pod", "In", "b")))),
        case("select namespaces by expression", step(only("y/*"), to_a(among("namespaceSelector", "ns", "In", "y")))),
        case("pods or namespaces", step(only("x/b", "y/*", "z/*"), to_a(x_b, NOT_X))),
        case("pods and namespaces", step(only("y/b", "z/b"), to_a({**x_b, **NOT_X}))),
        case(
            "several pods and several namespaces",
            step(only("[yz]/[bc]"), to_a({**among("podSelector", "pod", "In", "b", "c"), **NOT_X})),
        ),
        case("any of several pod selectors", step(only("x/[bc]"), to_a(pods(pod="b"), pods(pod="c")))),
        case("one pod of another namespace", step(only("y/a"), to_a({**spaces(ns="y"), **pods(pod="a")}))),
        case("a namespace by its name as a label", step(only("y/*"), to_a(spaces(**{y_name: "y"})))),
        case(
            "namespaces by name as an expression",
            step(only("y/*", "z/*"), to_a(among("namespaceSelector", y_name, "NotIn", "x"))),
        ),
        case("nobody of other namespaces", step(everyone().deny("[yz]/*", "x/*"), PODS_OF_X)),
    ]


def porting() -> list[Case]:
    """Ports, names and protocols."""
    y_81 = to_a(spaces(ns="y"), ports=[{"port": 81}])
    y_80 = to_a(spaces(ns="y"), name="q", ports=[{"port": 80}])
    named = in_x(policyTypes=["Ingress"], ingress=[NAMED_81])
    from_y = in_x(policyTypes=["Ingress"], ingress=[{"from": [spaces(ns="y")], **NAMED_80}])
    egress = in_x(policyTypes=["Egress"], egress=[NAMED_80])
    tcp, udp, sctp = ([{"protocol": name}] for name in ("TCP", "UDP", "SCTP"))
    return [
        case("ports", step(only("y/*"), y_81, port="81/TCP"), step(only(), y_81)),
        case(
            "stacked policies",
            step(only(), y_81),
            step(only("y/*"), y_81, y_80),
            step(only("y/*"), y_81, y_80, port="81/TCP"),
        ),
        case("ingress by name", step(everyone(), named, port="81/TCP"), step(NO_INGRESS, named)),
        case(
            "ingress from a namespace by name",
            step(everyone().deny(destination="x/*").allow("y/*", "x/*"), from_y),
            step(NO_INGRESS, from_y, port="81/TCP"),
        ),
        case("egress by name", step(everyone(), egress), step(everyone().deny("x/*"), egress, port="81/TCP")),
        case(
            "every port of one protocol",
            step(everyone(), to_a(ports=tcp)),
            step(everyone(), to_a(ports=tcp), port="81/TCP"),
            step(only(), to_a(ports=tcp), port="80/UDP"),
        ),
        case("SCTP is not TCP", step(only(), to_a(ports=[{"protocol": "SCTP", "port": 81}]), port="81/TCP")),
        case(
            "a policy for SCTP isolates",
            step(only(), to_a(ports=sctp)),
            step(everyone(), to_a(ports=sctp), port="80/SCTP"),
        ),
        case(
            "no TCP where only UDP is allowed",
            step(only(), to_a(ports=udp)),
            step(everyone(), to_a(ports=udp), port="80/UDP"),
        ),
    ]


def changing() -> list[Case]:
    """Policies, namespaces and pods that become others."""
    by_space, by_pod = to_a(UPDATED), to_a(UPDATED_POD)
    return [
        case("a policy updated", step(everyone(), OPEN), step(NO_INGRESS, in_x("open", policyTypes=["Ingress"]))),
        case(
            "a namespace updated", step(only(), by_space), step(only("y/*"), by_space, spaces={"y": {"ns2": "updated"}})
        ),
        case("a pod updated", step(only(), by_pod), step(only("x/b"), by_pod, pods={"x/b": {"pod2": "updated"}})),
        case(
            "a pod isolated by an update",
            step(everyone(), ISOLATED),
            step(only(), ISOLATED, pods={"x/a": {"target": "isolated"}}),
        ),
        case("a policy deleted", step(everyone().deny("x/*").deny(destination="x/*"), DENY_ALL), step(everyone())),
    ]


def leaving() -> list[Case]:
    """Egress, and both directions at once."""
    no_egress = policy("x/e", podSelector=OF_A, policyTypes=["Egress"])
    together = policy(
        "x/p",
        podSelector=OF_A,
        policyTypes=BOTH,
        ingress=[{"from": [spaces(ns="y")]}],
        egress=[{"to": [spaces(ns="z")]}],
    )
    client = policy("y/e", podSelector=OF_A, policyTypes=["Egress"])
    x_a_closed = everyone().deny("x/a")
    return [
        case("deny egress by pod", step(x_a_closed, no_egress)),
        case("deny egress of a namespace", step(everyone().deny("x/*"), EGRESS_DENY)),
        case("ingress and egress together", step(only("y/*").deny("x/a").allow("x/a", "z/*"), together)),
        case(
            "a client that may not send to a server that would take it",
            step(everyone().deny(destination="x/a").allow("y/*", "x/a").deny("y/a"), to_a(spaces(ns="y")), client),
        ),
        case(
            "egress to one pod of another namespace",
            step(everyone().deny("x/a").allow("x/a", "y/a"), from_a({**spaces(ns="y"), **pods(pod="a")})),
        ),
        case("all of ingress allowed wins", step(NO_INGRESS, DENY), step(everyone(), DENY, OPEN)),
        case(
            "all of egress allowed wins",
            step(everyone().deny("x/*"), EGRESS_DENY),
            step(everyone(), EGRESS_DENY, EGRESS_OPEN),
        ),
        case("egress to a block", step(everyone().deny("x/a").allow("x/a", "z/b"), from_a(block("z/b", 32)))),
        case(
            "a block with a hole",
            step(everyone().deny("x/a").allow("x/a", "z/*").deny("x/a", "z/b"), from_a(block("z/a", 24, ("z/b", 32)))),
        ),
        case(
            "a hole that another policy fills",
            step(
                everyone().deny("x/a").allow("x/a", "z/*"),
                from_a(block("z/a", 24, ("z/b", 32))),
                from_a(block("z/b", 32), name="q"),
            ),
        ),
        case(
            "one direction does not touch the other",
            step(x_a_closed, no_egress),
            step(only(), policy("x/i", podSelector=OF_A, policyTypes=["Ingress"])),
            step(only().deny("x/a"), no_egress, policy("x/i", podSelector=OF_A, policyTypes=["Ingress"])),
        ),
        case("all of ingress allowed", step(everyone(), OPEN)),
    ]


def of_protocol(protocol: str) -> list[Case]:
    """What is tried for UDP and SCTP again."""
    port = f"80/{protocol}"
    ports = to_a(spaces(ns="y"), ports=[{"protocol": protocol, "port": 81}])
    return [
        case(f"{protocol}: deny all ingress", step(NO_INGRESS, DENY, port=port)),
        case(f"{protocol}: ports", step(only("y/*"), ports, port=f"81/{protocol}"), step(only(), ports, port=port)),
        case(
            f"{protocol}: one pod of another namespace",
            step(only("y/a"), to_a({**spaces(ns="y"), **pods(pod="a")}), port=port),
        ),
    ]


CASES = [*selecting(), *porting(), *changing(), *leaving(), *of_protocol("UDP"), *of_protocol("SCTP")]
