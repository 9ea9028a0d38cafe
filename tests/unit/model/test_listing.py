"""Objects in order that come and go: always those that a dict would hold, and what stays is shared."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.model import Namespace
from daemon.model.differences import differences
from daemon.model.listing import Listing, Ordered, name_of
from daemon.model.objects import ObjectMeta

NUMBERS = st.integers(0, 400)


def named(number: int) -> Namespace:
    return Namespace(ObjectMeta(f"n{number:03}"))


@given(st.sets(NUMBERS), st.lists(st.lists(st.tuples(NUMBERS, st.booleans()), max_size=40), max_size=5))
def test_after_any_changes_the_objects_and_the_difference_are_those_of_a_look_at_everything(
    first: set[int], steps: list[list[tuple[int, bool]]]
) -> None:
    ordered = Ordered(map(named, first))
    known = {name_of(one): one for one in ordered.all()}
    for step in steps:
        before, was = ordered.all(), dict(known)
        for number, stays in step:
            one = named(number)
            if stays:
                ordered.put(one)
                known[name_of(one)] = one
            elif known.pop(name_of(one), None):
                ordered.remove(name_of(one))
        now = ordered.all()
        assert list(now) == [known[name] for name in sorted(known)]
        assert [now[place] for place in range(len(now))] == list(now)
        gone, new = differences(before, now)
        same = {name for name in was if known.get(name) is was[name]}
        assert not {name_of(one) for one in (*gone, *new)} & same
        assert {name_of(one) for one in gone} >= was.keys() - known.keys()
        assert {name_of(one) for one in new} >= known.keys() - was.keys()
        assert [was[name_of(one)] for one in gone] == gone
        assert [known[name_of(one)] for one in new] == new


def test_a_change_leaves_the_other_runs_the_very_same() -> None:
    ordered = Ordered(map(named, range(1000)))
    before = ordered.all()
    ordered.put(named(500))
    ordered.remove(("", "n900"))
    kept = set(map(id, before.runs)) & set(map(id, ordered.all().runs))
    assert len(kept) == len(before.runs) - 2


def test_what_grows_in_one_place_does_not_become_one_long_run() -> None:
    ordered = Ordered(map(named, range(900, 1000)))
    for number in range(900):
        ordered.put(named(number))
    assert max(map(len, ordered.all().runs)) <= 128


def test_what_did_not_change_is_handed_out_again() -> None:
    ordered = Ordered(map(named, range(3)))
    assert ordered.all() is ordered.all()


def test_a_listing_is_counted_from_both_ends() -> None:
    listing = Listing([("a", "b"), ("c",)])
    assert (listing[2], listing[-1], listing[1:]) == ("c", "c", ("b", "c"))
    with pytest.raises(IndexError):
        listing[3]
