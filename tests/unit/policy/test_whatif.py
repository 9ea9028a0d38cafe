"""What would change, and policies made from what was seen: what was seen passes, everything else does not."""

from __future__ import annotations

import json
from collections import Counter
from random import Random

import pytest
from msgspec import convert

from daemon.model.policies import NetworkPolicy
from daemon.model.snapshot import Snapshot
from daemon.policy.recorded import Party, RecordingError, Seen, questions, read_lines
from daemon.policy.suggest import suggest
from daemon.policy.whatif import Stage, what_if
from ebpf.addresses import pack
from tests.support.policies import namespace, policy, snapshot_of

WORKLOADS, SPACES, REPLICAS = 50, ("shop", "pay", "ops", "kube-system"), 2
PORTS = ((6, 80), (6, 443), (6, 5432), (17, 53), (132, 9003))
OUTSIDE = tuple(Party("", "", (), pack(address), address) for address in ("192.0.2.1", "2001:db8::1"))


def replicas(number: int) -> list[Party]:
    """A workload's pods; every fifth workload's labels are part of the one after it."""
    space = SPACES[number % len(SPACES)]
    labels = {"app": f"app-{number - number % 5 // 4}", "old": "yes"}
    if number % 5 == 4:
        space, labels["tier"] = SPACES[(number - 1) % len(SPACES)], "canary"
    return [
        Party(
            space, f"app-{number}-{one}", tuple(sorted(labels.items())), pack(f"10.0.{number}.{one}"), f"app-{number}"
        )
        for one in range(REPLICAS)
    ]


def generated(seed: int) -> tuple[list[list[Party]], Counter[Seen]]:
    """Workloads, and what some of their pods said to each other and to the outside."""
    random, workloads = Random(seed), [replicas(number) for number in range(WORKLOADS)]
    seen: Counter[Seen] = Counter()
    for _ in range(150):
        source, destination = random.sample(workloads, 2)
        ends = random.choice(source), random.choice(destination)
        if random.random() < 0.1:
            ends = random.choice(((ends[0], OUTSIDE[0]), (OUTSIDE[1], ends[1])))
        seen[Seen(*ends, *random.choice(PORTS), True)] += random.randint(1, 9)
    return workloads, seen


def with_policies(manifests: tuple[dict[str, object], ...]) -> Snapshot:
    return snapshot_of([*map(namespace, SPACES), *(convert(one, NetworkPolicy) for one in manifests)])


@pytest.mark.parametrize("seed", range(5))
def test_suggested_policies_deny_nothing_that_was_seen_and_everything_that_was_not(seed: int) -> None:
    workloads, seen = generated(seed)
    suggestion = suggest(seen, SPACES)
    candidate = with_policies(suggestion.policies)
    outlook = what_if(seen, candidate)
    assert outlook.harmless
    assert outlook.asked == sum(seen.values())
    allowed = {
        (one.source.labels, one.source.namespace or one.source.address, one.destination.labels,
         one.destination.namespace or one.destination.address, one.protocol, one.port)
        for one in seen
    }  # fmt: skip
    everybody = [party for pods in workloads for party in pods]
    stage = Stage(candidate, everybody)
    random = Random(seed)
    for _ in range(3000):
        source, destination = random.sample([*everybody, *OUTSIDE], 2)
        if source.namespace or destination.namespace:
            protocol, port = random.choice(PORTS)
            key = (source.labels, source.namespace or source.address, destination.labels,
                   destination.namespace or destination.address, protocol, port)  # fmt: skip
            assert stage.ask(Seen(source, destination, protocol, port, True))[0] is (key in allowed)


def test_policies_name_labels_and_not_pods() -> None:
    _, seen = generated(1)
    text = json.dumps(suggest(seen, SPACES).policies)
    assert "app-3-0" not in text
    assert "10.0." not in text


def test_what_policies_cannot_say_is_told_apart() -> None:
    source, destination = replicas(0)[0], replicas(1)[0]
    ping = Seen(source, destination, 1, 0, True)
    suggestion = suggest([ping], SPACES)
    assert suggestion.left_out == (ping,)
    assert len(what_if({ping: 1}, with_policies(suggestion.policies)).denied) == 1


def test_a_candidate_is_told_by_workload_pair_with_counts_and_the_rule() -> None:
    web, api = replicas(0), replicas(4)
    seen = {Seen(one, api[0], 6, 80, True): 3 for one in web} | {Seen(web[0], api[0], 6, 81, False): 2}
    deny = policy(f"{api[0].namespace}/only-81", ingress=[{"ports": [{"port": 81}]}])
    outlook = what_if(seen, snapshot_of([deny]))
    ((denied, count),) = outlook.denied.items()
    assert (denied.source, denied.destination, denied.port, count) == ("app-0", "app-4", 80, 6)
    assert denied.rule is not None
    assert denied.rule.policies[0].name == "only-81"
    ((allowed, count),) = outlook.allowed.items()
    assert (allowed.port, count) == (81, 2)


def flow(**more: object) -> str:
    labels = ["k8s:app=web", "k8s:io.kubernetes.pod.namespace=shop", "reserved:nothing"]
    body = {
        "verdict": "FORWARDED",
        "IP": {"source": "10.0.0.1", "destination": "10.0.0.2"},
        "l4": {"TCP": {"source_port": 40000, "destination_port": 80, "flags": {"SYN": True}}},
        "source": {"namespace": "shop", "pod_name": "web-1", "labels": labels, "workloads": [{"name": "web"}]},
        "destination": {"labels": ["reserved:world"]},
        **more,
    }
    return json.dumps({"flow": body})


def test_recorded_lines_become_questions() -> None:
    ((seen, count),) = questions(read_lines([flow(), "", flow(is_reply=False)])).items()
    assert count == 2
    assert seen.source == Party("shop", "web-1", (("app", "web"),), pack("10.0.0.1"), "shop/web")
    assert seen.destination == Party("", "", (), pack("10.0.0.2"), "10.0.0.2")
    assert (seen.protocol, seen.port, seen.passed) == (6, 80, True)


@pytest.mark.parametrize(
    "more",
    [
        {"is_reply": True},
        {"l4": {"TCP": {"flags": {"SYN": True, "ACK": True}}}},
        {"l7": {}},
        {"verdict": "DROPPED", "drop_reason_desc": "INVALID_SOURCE_IP"},
        {"source": {"labels": ["reserved:host"]}},
        {"IP": {}},
        {"l4": {}},
        {"l4": {"ICMPv4": {"type": 3, "code": 3}}},
        {"l4": {"ICMPv6": {"type": 135}}},
    ],
)
def test_what_says_nothing_about_policy_is_left_out(more: dict[str, object]) -> None:
    assert questions(read_lines([flow(**more)])) == Counter()


def test_a_denied_packet_is_a_question_although_it_has_no_connection() -> None:
    (seen,) = questions(
        read_lines([flow(verdict="DROPPED", drop_reason_desc="POLICY_DENIED", l4={"UDP": {"destination_port": 53}})])
    )
    assert not seen.passed


def test_a_connection_that_the_other_end_denied_did_not_pass() -> None:
    denied = flow(verdict="DROPPED", drop_reason_desc="POLICY_DENIED")
    other = flow(l4={"TCP": {"source_port": 40001, "destination_port": 80, "flags": {"SYN": True}}})
    assert [one.passed for one in questions(read_lines([flow(), denied]))] == [False]
    assert sorted(one.passed for one in questions(read_lines([flow(), denied, other]))) == [False, True]


def test_a_broken_line_is_named() -> None:
    with pytest.raises(RecordingError, match="line 2"):
        list(read_lines([flow(), "{"]))
