"""What another service proxy left on this host, or still does.

Two proxies do not fail loudly: each translates what the other did not, a dead one's rules send new connections
to pods that are gone, and nobody looks there. So every place is looked at where kube-proxy writes: its process, its
chains by both iptables, its nftables tables, its IPVS device. Chains that kubelet makes itself are no leftovers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from daemon.agent.finding import Finding, ok, warn
from daemon.agent.host import Host, ToolError

_CHAIN = re.compile(
    r"^\s*(?::|chain )(KUBE-(?:SERVICES|NODEPORTS|EXTERNAL-SERVICES|PROXY-FIREWALL|(?:SVC|SEP|SVL|EXT|FW|XLB)-\w+)"
    r"|(?:service|endpoint|external|firewall)-[A-Z0-9]{8}\S*)",
    re.MULTILINE,
)
_TABLE = re.compile(r"^table (?:ip|ip6|inet) kube-proxy\b", re.MULTILINE)
_SAVES = ("iptables-save", "ip6tables-save", "iptables-legacy-save", "ip6tables-legacy-save")
_CLEAN = "stop kube-proxy, then run `kube-proxy --cleanup` as root, or restart the host"


def leftovers(host: Host) -> Iterator[Finding]:
    """Findings on kube-proxy: its process, its rules, its IPVS device."""
    yield _process(host)
    yield _rules(host)
    yield _ipvs(host)


def _process(host: Host) -> Finding:
    pids = [pid for pid in host.names("/proc") if pid.isdigit() and host.text(f"/proc/{pid}/comm") == "kube-proxy"]
    if not pids:
        return ok("kube-proxy process", "none runs")
    todo = "remove it: kubectl -n kube-system delete daemonset kube-proxy, or stop its service"
    return warn("kube-proxy process", f"runs as pid {', '.join(pids)}: two proxies translate the same traffic", todo)


def _rules(host: Host) -> Finding:
    what, asked, found, problems = "kube-proxy rules", [], [], []
    for argv in (*([save] for save in _SAVES), ["nft", "list", "chains"]):
        try:
            text = host.run(argv)
        except ToolError as error:
            problems.append(str(error))
            continue
        if text is not None:
            asked.append(argv[0])
            count = len(set(_CHAIN.findall(text))) or len(_TABLE.findall(text))
            found += [f"{count} chains by {argv[0]}"] if count else []
    if found:
        return warn(what, f"{'; '.join(found)}: they may send connections to pods that are gone", _CLEAN)
    if problems:
        todo = "run as root" if not host.superuser else "look with that tool by hand"
        return warn(what, f"not seen: {'; '.join(problems)}", todo)
    if not asked:
        return warn(what, "not looked for: neither iptables-save nor nft is installed", "install nftables to know")
    return ok(what, f"none ({', '.join(asked)})")


def _ipvs(host: Host) -> Finding:
    entries = sum(line.startswith(("TCP", "UDP", "SCTP")) for line in host.text("/proc/net/ip_vs").splitlines())
    if entries or host.path("/sys/class/net/kube-ipvs0").exists():
        return warn("IPVS", f"{entries} virtual servers, kube-proxy's device kube-ipvs0 or another balancer's", _CLEAN)
    return ok("IPVS", "no virtual servers")
