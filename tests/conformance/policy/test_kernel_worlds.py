"""Random clusters in the kernel's maps: the programs against the evaluator that shares nothing with the compiler.

One reconciler goes from state to state of a cluster, through every table that the compiler hands out, so what is asked
are maps that were changed and not maps that were filled.
"""

from __future__ import annotations

import os
from random import Random

import pytest

from daemon.policy import PolicyTable
from daemon.policy.compile import PolicyCompiler
from ebpf.addresses import pack
from ebpf.datapath import Datapath
from tests.conformance.policy.kernel import Probe, asked, load
from tests.support.policies import HERE
from tests.support.policy_oracle import Answer, Oracle
from tests.support.policy_oracle import Probe as Question
from tests.support.policy_worlds import World

SEEDS = int(os.environ.get("REMORA_TEST_KERNEL_SEEDS", "240"))
FIRST = 1_000_000  # seeds that no other test uses
BUILT, STEPS, PROBES = 14, 6, 60
CHUNKS = 6


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_the_programs_say_what_the_policies_mean(datapath: Datapath, chunk: int) -> None:
    answers: dict[Answer, int] = dict.fromkeys(Answer, 0)
    for seed in range(FIRST + chunk, FIRST + SEEDS, CHUNKS):
        world, compiler, loaded = World(Random(seed)), PolicyCompiler(HERE), load(datapath, PolicyTable())
        for _ in range(BUILT):
            world.change()
        for step in range(STEPS):
            snapshot = world.snapshot()
            oracle = Oracle(snapshot, world.named)
            questions = [one for one in world.probes(snapshot, PROBES) if has_an_address(oracle, one)]
            for table in compiler.compile(snapshot, world.names):
                found = asked(datapath, loaded, table, [probe(one) for one in questions])
            for one, verdict in zip(questions, found, strict=True):
                answer = oracle.ask(one)
                answers[answer] += 1
                said = verdict.ingress if one.ingress else verdict.egress
                assert said == (answer is not Answer.DENY), f"seed {seed}, step {step}: {one}"
            world.change()
    assert all(answers.values()), "worlds in which nothing is denied or audited show nothing"


def has_an_address(oracle: Oracle, one: Question) -> bool:
    """Whether the local pod owns its address in the remote's family, and is not its own remote."""
    local = address(one)
    return local is not None and local != one.remote and oracle.owner(local) is one.local


def address(one: Question) -> str | None:
    return next((own for own in one.local.addresses if (":" in own) == (":" in one.remote)), None)


def probe(one: Question) -> Probe:
    local = address(one)
    assert local
    ends = (pack(one.remote), pack(local)) if one.ingress else (pack(local), pack(one.remote))
    return Probe(*ends, one.protocol, one.port)
