"""Names learned from answers."""

from __future__ import annotations

from daemon.flows.l7 import DnsMessage
from daemon.flows.names import DnsNames
from ebpf import addresses

ASKER, SITE = addresses.pack("10.0.0.1"), addresses.pack("192.0.2.7")


def _answer(name: str, *ips: str) -> DnsMessage:
    return DnsMessage(1, name, ("A",), ips, response=True)


def test_an_address_is_known_under_every_name_that_was_asked_for_without_trailing_dots() -> None:
    names = DnsNames()
    for name in ("a.example.", "b.example.", "a.example."):
        names.learn(ASKER, _answer(name, "192.0.2.7"))
    assert names.names(ASKER, SITE) == ("a.example", "b.example")


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
