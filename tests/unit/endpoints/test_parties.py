"""Parties followed by differences are those that a look at everything would find."""

from __future__ import annotations

from ipaddress import ip_address

from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.endpoints.device import Device, Devices
from daemon.endpoints.joining import join
from daemon.endpoints.parties import PartyBook
from daemon.model.objects import ObjectMeta, Pod, PodIP, PodSpec, PodStatus

ADDRESSES = [f"10.1.0.{number}" for number in range(1, 9)]
NODE = [frozenset({ip_address("10.0.0.1")}), frozenset({ip_address("10.0.0.1"), ip_address("10.1.0.8")})]


@st.composite
def pods(draw: st.DrawFn) -> tuple[Pod, ...]:
    names = draw(st.lists(st.sampled_from("abcdef"), unique=True).map(sorted))
    return tuple(
        Pod(
            ObjectMeta(
                name,
                "shop",
                {"app": draw(st.sampled_from(["x", "y"]))},
                deletion_timestamp=draw(st.sampled_from(["", "", "2026-01-01T00:00:00Z"])),
            ),
            PodSpec(host_network=draw(st.integers(0, 9)) == 0),
            PodStatus(
                draw(st.sampled_from(["Running", "Running", "Running", "Failed"])),
                pod_ips=tuple(map(PodIP, draw(st.lists(st.sampled_from(ADDRESSES), max_size=2, unique=True)))),
            ),
        )
        for name in names
    )


@st.composite
def devices(draw: st.DrawFn) -> Devices:
    numbers = draw(st.lists(st.integers(1, 6), unique=True, max_size=4).map(sorted))
    held = iter(draw(st.permutations(ADDRESSES)))
    found = tuple(
        Device(
            10 + number,
            f"v{number}",
            f"ns{number}",
            100 + draw(st.sampled_from([number, 1])),
            (ip_address(next(held)),),
            "",
        )
        for number in numbers
    )
    return Devices(found, draw(st.sampled_from(NODE)))


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(devices(), pods()), min_size=1, max_size=8), st.data())
def test_after_any_changes_the_parties_are_those_of_a_fresh_look(
    steps: list[tuple[Devices, tuple[Pod, ...]]], data: st.DataObject
) -> None:
    book = PartyBook()
    known: dict[object, object] = {}
    before: tuple[Pod, ...] = ()
    for found, wanted in steps:
        given_pods = tuple(
            next((old for old in before if old == pod), pod) for pod in wanted
        )  # what did not change is the same object
        found = data.draw(st.sampled_from([found, book.devices]))
        difference = book.update(found, given_pods)
        before = given_pods
        for key in difference.gone:
            del known[key]
        known.update((party.key, party) for party in difference.changed)
        fresh = join(found, given_pods)
        assert known == book.parties == {party.key: party for party in fresh.parties}
        assert set(book.local) == {party for party in fresh.parties if party.devices}
        assert set(difference.contested) == set(fresh.contested)
