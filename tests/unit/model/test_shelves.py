"""Mappings that share what did not change: like a dict each, and their difference as a look at everything finds it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.model.shelves import Draft, Shelves, differing

KEYS = st.integers(0, 600)  # some share a shelf
EDIT = st.tuples(KEYS, st.none() | st.integers(0, 3))  # None: the key goes
STEPS = st.lists(st.lists(EDIT, max_size=8), max_size=6)


@given(st.dictionaries(KEYS, st.integers(0, 3)), STEPS)
def test_after_any_edits_a_draft_holds_what_a_dict_holds_and_what_was_handed_out_stays(
    first: dict[int, int], steps: list[list[tuple[int, int | None]]]
) -> None:
    draft, plain = Draft(first), dict(first)
    handed_out = [(draft.done(), dict(plain))]
    for edits in steps:
        for key, value in edits:
            if value is None:
                assert draft.pop(key, None) == plain.pop(key, None)
            else:
                draft[key] = plain[key] = value
        handed_out.append((draft.done(), dict(plain)))
    for shelves, copy in handed_out:
        assert (dict(shelves), len(shelves), set(shelves)) == (copy, len(copy), set(copy))
        assert [shelves.get(key, -1) for key in range(600)] == [copy.get(key, -1) for key in range(600)]


@given(st.dictionaries(KEYS, st.integers(0, 3)), st.lists(EDIT))
def test_the_difference_is_what_a_comparison_of_everything_finds(
    first: dict[int, int], edits: list[tuple[int, int | None]]
) -> None:
    draft = Draft(first)
    before = draft.done()
    for key, value in edits:
        if value is None:
            draft.pop(key, None)
        else:
            draft[key] = value
    after = draft.done()
    gone = {key: value for key, value in before.items() if after.get(key) != value}
    new = {key: value for key, value in after.items() if before.get(key) != value}
    assert differing(before, after) == (gone, new)
    assert differing(dict(before), after) == (gone, new)
    assert differing(before, dict(after)) == differing(dict(before), dict(after)) == (gone, new)


def test_a_draft_in_which_nothing_was_written_is_the_very_same_mapping() -> None:
    before = Shelves({"a": 1})
    assert Draft(before).done() is before


def test_a_change_leaves_other_values_the_very_same_objects() -> None:
    value = [1]
    draft = Draft({"a": value, "b": [2]})
    draft["b"] = [3]
    assert draft.done()["a"] is value


def test_what_is_not_there_cannot_be_taken_away() -> None:
    draft = Draft({"a": 1})
    with pytest.raises(KeyError):
        del draft["b"]
    assert draft.done() == {"a": 1}
