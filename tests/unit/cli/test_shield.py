"""`remora shield`: what it asks, what it prints within 100 columns, with which code it ends."""

from __future__ import annotations

import json

import pytest

from daemon.cli.shield import explanation, listing
from daemon.proto import remora_pb2 as pb
from tests.unit.api.shop import FakeView
from tests.unit.cli.conftest import Remora

WIDTH = 100
BAN = pb.ShieldBan(address="192.0.2.7", rule="edge/per-source", remaining_ns=272 * 10**9)
RULES = [
    pb.ShieldRule(number=11, name="malformed/port", kind="malformed", dry_run=True, would_drop=7),
    pb.ShieldRule(number=64, name="node", kind="protect", entries=4, packets=1_234, bytes=2_000_000),
    pb.ShieldRule(number=65, name="edge/feed", kind="deny", entries=100_000, packets=5_000_000, bytes=10**9),
    pb.ShieldRule(number=66, name="edge/per-source", kind="limit"),
]
FULL = pb.ListShieldResponse(rules=RULES, bans=[BAN], devices=["eth0 native"])
ANSWER = pb.ExplainShieldResponse(
    address="192.0.2.7",
    verdict="drop",
    words="192.0.2.7 is dropped: 192.0.2.0/24 of edge/feed (/etc/remora/shield/feed.txt:17) denies it",
    listed=[
        pb.ShieldListed(rule="edge/feed", kind="deny", prefix="192.0.2.0/24", place="/etc/x:17", decides=True),
        pb.ShieldListed(rule="edge/trial", kind="deny", dry_run=True, prefix="192.0.2.0/25", place="Shield edge"),
    ],
    ban=BAN,
    buckets=[
        pb.ShieldBucket(rule="edge/l", match="SYNs to 80/TCP", shared_by="192.0.2.7/32", packet_rate=1, packet_burst=9)
    ],
    proven_ns=30 * 10**9,
    notes=["malformed packets of it are dropped"],
)


def test_the_list_tells_rules_bans_and_devices() -> None:
    assert listing(FULL) == (
        "RULE             KIND       MODE      ENTRIES  PACKETS    BYTES  WOULD DROP\n"
        "malformed/port   malformed  dry run   -        0          0B     7\n"
        "node             protect    -         4        1,234      2.0MB  0\n"
        "edge/feed        deny       enforced  100,000  5,000,000  1.0GB  0\n"
        "edge/per-source  limit      enforced  -        0          0B     0\n"
        "\n"
        "BANNED     FOR    BECAUSE OF\n"
        "192.0.2.7  4m32s  edge/per-source\n"
        "\n"
        "on eth0 native\n"
    )


def test_no_shield_and_no_device_are_told() -> None:
    assert listing(pb.ListShieldResponse(devices=["eth0 native"])) == "no Shield is in force\n"
    assert listing(pb.ListShieldResponse(rules=RULES)).endswith("on no device: nothing is dropped\n")


def test_an_explanation_names_entry_place_ban_and_what_limits_leave() -> None:
    text = explanation(ANSWER)
    assert text == (
        "192.0.2.7 is dropped: 192.0.2.0/24 of edge/feed (/etc/remora/shield/feed.txt:17) denies it\n"
        "  banned for 4m32s more, because of edge/per-source\n"
        "  ENTRY         LIST        KIND           DECIDES  WHERE\n"
        "  192.0.2.0/24  edge/feed   deny           *        /etc/x:17\n"
        "  192.0.2.0/25  edge/trial  deny, dry run           Shield edge\n"
        "  LIMIT   OF              SHARED BY     PACKETS LEFT  BYTES LEFT\n"
        "  edge/l  SYNs to 80/TCP  192.0.2.7/32  0 of 9        -\n"
        "  proven to exist, for 30s more\n"
        "note: malformed packets of it are dropped\n"
    )
    assert max(map(len, text.splitlines())) <= WIDTH


def test_the_commands_ask_the_agent(server: str, view: FakeView, remora: Remora) -> None:
    view.shielded = FULL
    assert remora("shield", "list")[1] == listing(FULL)
    code, out, _ = remora("shield", "list", "-o", "json")
    assert (code, json.loads(out)["bans"][0]["address"]) == (0, "192.0.2.7")
    assert remora("shield", "explain", "2001:DB8::7") == (0, "2001:db8::7 passes\n", "")
    assert json.loads(remora("shield", "explain", "192.0.2.7", "-o", "json")[1])["verdict"] == "pass"


def test_unban_says_whether_somebody_was_banned(server: str, view: FakeView, remora: Remora) -> None:
    view.shielded = FULL
    code, out, _ = remora("shield", "unban", "192.0.2.7")
    assert (code, out) == (0, "192.0.2.7 is let in again; it was banned for 4m32s more\n")
    code, out, _ = remora("shield", "unban", "192.0.2.8")
    assert (code, out.startswith("192.0.2.8 is not banned")) == (1, True)


@pytest.mark.parametrize("command", ["explain", "unban"])
def test_what_is_no_address_is_wrong_use(remora: Remora, command: str) -> None:
    code, _, error = remora("shield", command, "192.0.2.0/24")
    assert (code, "'192.0.2.0/24' is no address" in error) == (2, True)
