"""Rules as people read them."""

from __future__ import annotations

from daemon.policy import Direction
from daemon.policy.parse import parse
from daemon.policy.wording import peer_words, port_words
from tests.support.policies import policy

RULES = parse(
    policy(
        "shop/p",
        egress=[
            {},
            {
                "to": [
                    {"podSelector": {"matchLabels": {"app": "db"}}},
                    {
                        "podSelector": {},
                        "namespaceSelector": {"matchExpressions": [{"key": "a", "operator": "Exists"}]},
                    },
                    {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}},
                    {"ipBlock": {"cidr": "fd00::/8"}},
                ],
                "ports": [
                    {"port": 80},
                    {"port": 8000, "endPort": 8010, "protocol": "UDP"},
                    {"port": "http"},
                    {"protocol": "SCTP"},
                ],
            },
        ],
    ),
    None,
).rules[Direction.EGRESS]


def test_peers_are_told_as_they_are_written() -> None:
    assert [peer_words(peer) for peer in RULES[0].peers] == ["everyone"]
    assert {peer_words(peer) for peer in RULES[1].peers} == {
        "pods app=db in shop",
        "all pods in namespaces a",
        "10.0.0.0/8 but 10.1.0.0/16",
        "fd00::/8",
    }


def test_ports_are_told_as_they_are_asked_for() -> None:
    assert port_words(RULES[0]) == []
    assert port_words(RULES[1]) == ["80/TCP", "8000-8010/UDP", "http/TCP", "SCTP"]
