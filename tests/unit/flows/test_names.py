"""Names learned from answers."""

from __future__ import annotations

from daemon.flows.l7 import DnsMessage
from daemon.flows.names import SHORTEST_NS, DnsNames
from ebpf import addresses

ASKER, SITE = addresses.pack("10.0.0.1"), addresses.pack("192.0.2.7")


def _answer(name: str, *ips: str) -> DnsMessage:
    return DnsMessage(1, name, ("A",), ips, response=True)


def test_an_address_is_known_under_every_name_that_was_asked_for_without_trailing_dots() -> None:
    names = DnsNames()
    for name in ("a.example.", "b.example.", "a.example."):
        names.learn(ASKER, _answer(name, "192.0.2.7"))
    assert names.names(ASKER, SITE) == ("b.example", "a.example")


def test_an_address_keeps_its_last_names_only() -> None:
    names = DnsNames()
    for number in range(9):
        names.learn(ASKER, _answer(f"n{number}.", "192.0.2.7"))
    assert names.names(ASKER, SITE) == ("n5", "n6", "n7", "n8")


def test_the_table_is_limited() -> None:
    names = DnsNames(capacity=10)
    for number in range(50):
        names.learn(ASKER, _answer(f"n{number}.", f"192.0.2.{number}"))
    assert len(names) == 10
    assert names.names(ASKER, addresses.pack("192.0.2.49")) == ("n49",)


def test_an_answer_without_question_teaches_nothing() -> None:
    names = DnsNames()
    names.learn(ASKER, _answer("", "192.0.2.7"))
    assert len(names) == 0


def test_an_address_has_its_names_for_those_who_did_not_ask_too() -> None:
    names = DnsNames()
    names.learn(ASKER, _answer("a.example.", "192.0.2.7"))
    assert names.names(addresses.pack("10.0.0.9"), SITE) == ()
    assert names.lookup(SITE) == ("a.example",)


def test_a_name_holds_as_long_as_the_answer_said_and_an_hour_at_least() -> None:
    now = [0]
    names = DnsNames(now=lambda: now[0])
    names.learn(ASKER, DnsMessage(1, "short.", ("A",), ("192.0.2.7",), ttl=5, response=True))
    names.learn(ASKER, DnsMessage(1, "long.", ("A",), ("192.0.2.7",), ttl=7_200, response=True))
    now[0] = SHORTEST_NS - 1
    assert names.lookup(SITE) == ("short", "long")
    now[0] = SHORTEST_NS
    assert names.lookup(SITE) == names.names(ASKER, SITE) == ("long",)


def test_whoever_subscribed_hears_of_answers_with_addresses_and_cannot_break_them() -> None:
    names, heard = DnsNames(), list[object]()
    names.subscribe(lambda *_: 1 / 0)
    names.subscribe(lambda *answer: heard.append(answer))
    names.learn(ASKER, DnsMessage(1, "a.example.", ("A",), ("192.0.2.7",), ttl=30, response=True), workload=16)
    names.learn(ASKER, DnsMessage(1, "b.example.", ("A",), (), rcode=3, response=True), workload=16)
    assert heard == [(16, "a.example", [SITE], 30)]
