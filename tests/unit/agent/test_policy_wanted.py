"""What makes policies be looked at anew, and how long DNS answers count."""

from __future__ import annotations

from pathlib import Path

import pytest

from daemon.agent.answers import Answers
from daemon.agent.enforcement import Wanted
from daemon.model.objects import ObjectMeta, Pod
from daemon.policy.names import Names
from ebpf.addresses import pack

NAME, SERVER = "api.example.org", pack("192.0.2.7")
PODS = tuple(Pod(metadata=ObjectMeta(name, "shop")) for name in ("a", "b"))
WANTED = Wanted(((), PODS), (), {}, True)


def test_the_same_objects_in_a_new_list_are_no_change() -> None:
    assert WANTED._replace(objects=((), (*PODS,))).same(WANTED)


def test_an_object_read_again_and_equal_is_no_change() -> None:
    assert WANTED._replace(objects=((), (PODS[0], Pod(metadata=ObjectMeta("b", "shop"))))).same(WANTED)


@pytest.mark.parametrize(
    "changed",
    [
        WANTED._replace(objects=((), PODS[:1])),
        WANTED._replace(objects=((), (PODS[0], Pod(metadata=ObjectMeta("b", "shop", labels={"app": "b"}))))),
        WANTED._replace(names={SERVER: frozenset({NAME})}),
        WANTED._replace(source_check=False),
    ],
)
def test_what_verdicts_follow_from_is_a_change(changed: Wanted) -> None:
    assert not changed.same(WANTED)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def answers(folder: Path, names: Names, clock: Clock) -> Answers:
    names.follow(frozenset({NAME}))
    return Answers(names, folder / "names.json", clock)


def test_an_answer_that_a_policy_waits_for_wakes_and_others_do_not(tmp_path: Path) -> None:
    names, woken = Names(), list[bool]()
    made = answers(tmp_path, names, Clock())
    made.wake = lambda: woken.append(True)
    made.heard(0, "else.example.org", [SERVER], 30)
    assert not woken
    made.heard(0, "API.example.org.", [SERVER], 30)
    assert woken
    made.settle()
    assert names.view == {SERVER: {NAME}}


def test_an_answer_goes_when_a_walk_after_its_end_meets_nobody(tmp_path: Path) -> None:
    names = Names()
    made = answers(tmp_path, names, Clock())
    made.heard(0, NAME, [SERVER], 30)
    for began, met, stays in ((129.0, (), True), (131.0, (SERVER,), True), (136.0, (), False)):
        made.swept(began, frozenset(met))
        made.settle()
        assert bool(names.view) is stays, began


def test_what_counts_is_known_to_the_next_agent(tmp_path: Path) -> None:
    names, clock = Names(), Clock()
    made = answers(tmp_path, names, clock)
    made.heard(0, NAME, [SERVER], 30)
    made.settle()
    made.keep()
    later = Names()
    following = answers(tmp_path, later, clock)
    later.follow(frozenset({NAME}))
    assert later.view == {SERVER: {NAME}}
    following.swept(131.0, frozenset())
    following.settle()
    assert not later.view


def test_a_broken_file_of_answers_is_no_answer(tmp_path: Path) -> None:
    (tmp_path / "names.json").write_text("[1, 2")
    names = Names()
    answers(tmp_path, names, Clock())
    assert not names.answers
