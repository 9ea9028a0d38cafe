"""What each counter of the datapath means to a person, and whether it should stay at zero."""

from __future__ import annotations

from typing import NamedTuple

from ebpf.constants import Counter


class Meaning(NamedTuple):
    """One counter in words; `fault`: it counts something that should not happen."""

    words: str
    fault: bool = False


MEANINGS = {
    Counter.FORWARDED_INGRESS: Meaning("packets to workloads"),
    Counter.FORWARDED_EGRESS: Meaning("packets from workloads"),
    Counter.NOT_IP: Meaning("ARP and other non-IP frames, passed unread"),
    Counter.TRUNCATED: Meaning("packets with a header cut off or lengths that lie, passed unread"),
    Counter.EXTENSION_LIMIT: Meaning("packets with more IPv6 extension headers than are read, passed"),
    Counter.FRAGMENT_UNKNOWN: Meaning("fragments whose first was not seen, passed without ports"),
    Counter.CONN_FULL: Meaning("packets passed untracked: no room for the connection", fault=True),
    Counter.FLOW_LOST: Meaning("flow records lost: ring buffer full", fault=True),
    Counter.PAYLOAD_LOST: Meaning("DNS and HTTP heads lost: ring buffer full", fault=True),
    Counter.PAYLOAD_SKIPPED: Meaning("HTTP requests over the budget, not told (setting http_budget)"),
    Counter.PAYLOAD_UNREADABLE: Meaning("DNS and HTTP heads that could not be copied", fault=True),
    Counter.SERVICE_CONNECTED: Meaning("connects sent to a backend"),
    Counter.SERVICE_DATAGRAM: Meaning("datagrams sent to a backend"),
    Counter.SERVICE_REFUSED: Meaning("connects refused: the Service has no backend"),
    Counter.SERVICE_DROPPED: Meaning("packets dropped: the Service's traffic policy admits no backend"),
    Counter.TRANSLATED: Meaning("packets translated at a device: no socket program saw the connection open"),
    Counter.TRANSLATE_FAILED: Meaning("packets dropped: they could not be rewritten", fault=True),
    Counter.SERVICE_NO_BACKEND: Meaning("connects passed untranslated: backend entry missing", fault=True),
    Counter.SERVICE_STATE_FULL: Meaning("connects passed untranslated: no room for the way back", fault=True),
    Counter.OUTSIDE_OPENED: Meaning("connections from outside that were sent to a backend"),
    Counter.OUTSIDE_TRANSLATED: Meaning("packets of connections from outside, both ways"),
    Counter.OUTSIDE_FULL: Meaning("connections from outside dropped: no room (setting translations)", fault=True),
    Counter.OUTSIDE_NO_PORT: Meaning("connections from outside dropped: no free port (setting snat_ports)", fault=True),
    Counter.OUTSIDE_NO_ROUTE: Meaning(
        "packets from outside dropped: no route, or no address of the family", fault=True
    ),
    Counter.OUTSIDE_TTL: Meaning("packets from outside dropped: their hops were used up"),
    Counter.SOURCE_RANGE: Meaning("packets dropped: loadBalancerSourceRanges does not name the client"),
    Counter.REJECTED: Meaning("packets answered with a reset or ICMP: nothing serves there"),
    Counter.TOO_BIG: Meaning("packets from outside answered with ICMP: larger than the way on takes"),
    Counter.ICMP_TRANSLATED: Meaning("ICMP errors about translated packets, handed on"),
    Counter.FRAGMENT_DROPPED: Meaning("fragments to a Service dropped: their first was not seen"),
    Counter.POLICY_DROPPED: Meaning("packets dropped: a network policy denies them"),
    Counter.POLICY_AUDITED: Meaning("packets passed that a network policy in audit mode would deny"),
    Counter.SOURCE_INVALID: Meaning("packets dropped: the workload does not have that source address"),
    Counter.POLICY_UNREADABLE: Meaning("packets of restricted workloads dropped: they cannot be judged"),
    Counter.POLICY_UNCOUNTED: Meaning("verdicts that are missing in the counts of rules: no room", fault=True),
    Counter.OUTSIDE_DIRECT: Meaning("connections from outside that another node sent here, answered directly"),
    Counter.OUTSIDE_UNTOLD: Meaning("first packets from outside that were refused or dropped without a flow record"),
    Counter.MAGLEV_MISSING: Meaning("backends drawn at random: no room for a Maglev table (setting maglev_rows)"),
    Counter.SHIELD_MALFORMED: Meaning("packets that the shield dropped: malformed"),
    Counter.SHIELD_BANNED: Meaning("packets that the shield dropped: their source is banned for a time"),
    Counter.SHIELD_DENIED: Meaning("packets that the shield dropped: a list denies their source"),
    Counter.SHIELD_LIMITED: Meaning("packets that the shield dropped: over a limit"),
    Counter.SHIELD_UNPROVEN: Meaning("SYNs that the shield answered or dropped: their source has not proven itself"),
    Counter.SHIELD_PROVEN: Meaning("sources that have proven themselves to the shield"),
    Counter.SHIELD_AUDITED: Meaning("packets passed that the shield, were it not for its dry run, would have dropped"),
    Counter.SHIELD_UNTOLD: Meaning("verdicts of the shield without a flow record"),
    Counter.SHIELD_UNCOUNTED: Meaning("verdicts that are missing in the counts of the shield: no room", fault=True),
    Counter.XDP_SENT: Meaning("packets of Services that XDP sent on or answered"),
    Counter.XDP_LEFT: Meaning("packets of Services that XDP left to TC"),
    Counter.OWNER_FULL: Meaning("sockets whose process could not be noted", fault=True),
}


def name(counter: Counter) -> str:
    """A counter's name as metrics and the CLI write it: `flow_lost`."""
    return counter.name.lower()


def known() -> list[Counter]:
    """All counters, in the kernel's order."""
    return [counter for counter in Counter if counter is not Counter.MAX]
