"""The helper that asks the programs, on tables that a reader can check by eye, for both families."""

from __future__ import annotations

import pytest

from daemon.policy.table import ANY_CLASS, Action, Entry, Isolation, PolicyTable, Ruleset
from ebpf.addresses import pack
from ebpf.datapath import Datapath
from tests.conformance.policy.kernel import SCTP, TCP, UDP, Probe, Verdict, verdicts

WEB, DB, LAN = 16, 17, 18
PODS = {"v4": ("10.0.0.1", "10.0.0.2", "10.0.0.3"), "v6": ("fd00::1", "fd00::2", "fd00::3")}


def table(family: str) -> PolicyTable:
    """The database admits the web on TCP 5432 to 5435 and the LAN on anything but TCP 22; it sends nothing."""
    web, db, other = (pack(one) for one in PODS[family])
    entries = (
        Entry(WEB, TCP, 5432, 14, Action.ALLOW, 1),
        Entry(LAN, 0, 0, 0, Action.ALLOW, 2),
        Entry(LAN, TCP, 22, 16, Action.DENY, 3),
        Entry(ANY_CLASS, UDP, 0, 0, Action.ALLOW, 4),
    )
    return PolicyTable(
        classes={web: WEB, db: DB},
        networks={(pack("192.168.0.0"), 112): LAN, (pack("fd01::"), 16): LAN},
        rulesets={
            1: Ruleset(1, entries, Action.DENY, 9, default_audit=False),
            2: Ruleset(2, (), Action.DENY, 8, default_audit=False),
        },
        workloads={db: Isolation(1, 2), web: Isolation(0, 0), other: Isolation(0, 0)},
    )


@pytest.mark.parametrize("family", PODS)
def test_probes_get_the_verdicts_that_the_table_says(datapath: Datapath, family: str) -> None:
    web, db, other = (pack(one) for one in PODS[family])
    lan = pack("192.168.7.7" if family == "v4" else "fd01::7")
    expected = {
        Probe(web, db, TCP, 5432): True,
        Probe(web, db, TCP, 5435): True,
        Probe(web, db, TCP, 5431): False,
        Probe(web, db, TCP, 5436): False,
        Probe(web, db, SCTP, 5432): False,
        Probe(web, db, UDP, 5432): True,
        Probe(other, db, UDP, 53): True,
        Probe(other, db, TCP, 5432): False,
        Probe(lan, db, TCP, 23): True,
        Probe(lan, db, SCTP, 9): True,
        Probe(lan, db, TCP, 22): False,
        Probe(lan, db, 47, 0): True,
        Probe(web, other, TCP, 1): True,
        Probe(db, db, TCP, 1): True,
    }
    assert dict(zip(expected, verdicts(datapath, table(family), list(expected)), strict=True)) == {
        probe: Verdict(egress=True, ingress=passes) for probe, passes in expected.items()
    }
    assert (
        verdicts(datapath, table(family), [Probe(db, web, TCP, 80), Probe(db, other, UDP, 53)])
        == [Verdict(egress=False, ingress=True)] * 2
    )
