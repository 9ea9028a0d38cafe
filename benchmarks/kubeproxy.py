"""The rule sets that kube-proxy programs for a fleet of Services, in its own shape, for iptables-restore and nft -f.

What kube-proxy does to a packet depends on the shape and not on the names, so the shape is kept: which chains there
are and from which hooks they are reached, one rule for each Service in the first chain (iptables) or one element of a
map (nftables), the choice of an endpoint, the marks for masquerading. Above a thousand endpoints kube-proxy leaves
the comments of endpoint rules out; so does this. Node ports have a rule set of their own.
"""

from __future__ import annotations

from base64 import b32encode
from collections.abc import Iterator, Mapping
from hashlib import sha256

from benchmarks.fleet import NAMESPACE, PORT, TARGET, Fleet, Member

PODS = "10.244.0.0/16"
MARK = 0x4000
LARGE = 1000  # endpoints from which on kube-proxy saves comments

_IPTABLES_FILTER = """*filter
:KUBE-EXTERNAL-SERVICES - [0:0]
:KUBE-FIREWALL - [0:0]
:KUBE-FORWARD - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-PROXY-FIREWALL - [0:0]
:KUBE-SERVICES - [0:0]
-A INPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes load balancer firewall" -j KUBE-PROXY-FIREWALL
-A INPUT -m comment --comment "kubernetes health check service ports" -j KUBE-NODEPORTS
-A INPUT -m conntrack --ctstate NEW -m comment --comment "externally-visible services" -j KUBE-EXTERNAL-SERVICES
-A INPUT -j KUBE-FIREWALL
-A FORWARD -m conntrack --ctstate NEW -m comment --comment "kubernetes load balancer firewall" -j KUBE-PROXY-FIREWALL
-A FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD
-A FORWARD -m conntrack --ctstate NEW -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A FORWARD -m conntrack --ctstate NEW -m comment --comment "externally-visible services" -j KUBE-EXTERNAL-SERVICES
-A OUTPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes load balancer firewall" -j KUBE-PROXY-FIREWALL
-A OUTPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A OUTPUT -j KUBE-FIREWALL
-A KUBE-FIREWALL ! -s 127.0.0.0/8 -d 127.0.0.0/8 -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP
-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
-A KUBE-FORWARD -m comment --comment "kubernetes forwarding rules" -m mark --mark 0x4000/0x4000 -j ACCEPT
-A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
COMMIT
"""

_IPTABLES_NAT = """-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MARK --xor-mark 0x4000
-A KUBE-POSTROUTING -m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE --random-fully
-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000"""

_IPTABLES_LAST = (
    '-A KUBE-SERVICES -m comment --comment "kubernetes service nodeports; NOTE: this must be the last rule in this '
    'chain" -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS'
)

_NFT_NO_NODEPORT = "ip daddr @nodeport-ips meta l4proto . th dport vmap @no-endpoint-nodeports"
_NFT_BASE = f"""
add table ip kube-proxy {{ comment "rules for kube-proxy" ; }}
add set ip kube-proxy cluster-ips {{ type ipv4_addr ; comment "Active ClusterIPs" ; }}
add set ip kube-proxy nodeport-ips {{ type ipv4_addr ; comment "IPs that accept NodePort traffic" ; }}
add map ip kube-proxy firewall-ips {{ type ipv4_addr . inet_proto . inet_service : verdict ; }}
add map ip kube-proxy no-endpoint-services {{ type ipv4_addr . inet_proto . inet_service : verdict ; }}
add map ip kube-proxy no-endpoint-nodeports {{ type inet_proto . inet_service : verdict ; }}
add map ip kube-proxy service-ips {{ type ipv4_addr . inet_proto . inet_service : verdict ; }}
add map ip kube-proxy service-nodeports {{ type inet_proto . inet_service : verdict ; }}
add chain ip kube-proxy filter-prerouting {{ type filter hook prerouting priority -110 ; }}
add chain ip kube-proxy filter-input {{ type filter hook input priority -110 ; }}
add chain ip kube-proxy filter-forward {{ type filter hook forward priority -110 ; }}
add chain ip kube-proxy filter-output {{ type filter hook output priority -110 ; }}
add chain ip kube-proxy filter-output-post-dnat {{ type filter hook output priority -90 ; }}
add chain ip kube-proxy nat-prerouting {{ type nat hook prerouting priority -100 ; }}
add chain ip kube-proxy nat-output {{ type nat hook output priority -100 ; }}
add chain ip kube-proxy nat-postrouting {{ type nat hook postrouting priority 100 ; }}
add chain ip kube-proxy cluster-ips-check
add chain ip kube-proxy firewall-check
add chain ip kube-proxy mark-for-masquerade
add chain ip kube-proxy masquerading
add chain ip kube-proxy nodeport-endpoints-check
add chain ip kube-proxy service-endpoints-check
add chain ip kube-proxy services
add rule ip kube-proxy filter-prerouting ct state new jump firewall-check
add rule ip kube-proxy filter-input ct state new jump nodeport-endpoints-check
add rule ip kube-proxy filter-input ct state new jump service-endpoints-check
add rule ip kube-proxy filter-forward ct state new jump service-endpoints-check
add rule ip kube-proxy filter-forward ct state new jump cluster-ips-check
add rule ip kube-proxy filter-output ct state new jump firewall-check
add rule ip kube-proxy filter-output-post-dnat ct state new jump service-endpoints-check
add rule ip kube-proxy filter-output-post-dnat ct state new jump cluster-ips-check
add rule ip kube-proxy nat-prerouting jump services
add rule ip kube-proxy nat-output jump services
add rule ip kube-proxy nat-postrouting jump masquerading
add rule ip kube-proxy cluster-ips-check ip daddr @cluster-ips reject
add rule ip kube-proxy firewall-check ip daddr . meta l4proto . th dport vmap @firewall-ips
add rule ip kube-proxy mark-for-masquerade meta mark set meta mark or {MARK:#x}
add rule ip kube-proxy masquerading meta mark and {MARK:#x} == 0 return
add rule ip kube-proxy masquerading meta mark set meta mark xor {MARK:#x}
add rule ip kube-proxy masquerading masquerade fully-random
add rule ip kube-proxy nodeport-endpoints-check {_NFT_NO_NODEPORT}
add rule ip kube-proxy service-endpoints-check ip daddr . meta l4proto . th dport vmap @no-endpoint-services
add rule ip kube-proxy services ip daddr . meta l4proto . th dport vmap @service-ips
add rule ip kube-proxy services ip daddr @nodeport-ips meta l4proto . th dport vmap @service-nodeports
"""


def iptables(fleet: Fleet) -> str:
    """For `iptables-restore`."""
    small = fleet.count * fleet.width <= LARGE
    chains = [":KUBE-SERVICES - [0:0]"]
    rules: list[str] = []
    for member in fleet.members():
        chains += [f":{name} - [0:0]" for name in (_service_chain(member), *_endpoint_chains(member))]
        rules += _iptables_rules(member, small)
    fixed = [f":KUBE-{name} - [0:0]" for name in ("MARK-MASQ", "NODEPORTS", "POSTROUTING")]
    nat = ["*nat", *fixed, *chains, _IPTABLES_NAT, *rules, _IPTABLES_LAST, "COMMIT"]
    return _IPTABLES_FILTER + "\n".join(nat) + "\n"


def node_ports(ports: Mapping[int, str]) -> str:
    """For `iptables-restore`: Services of one backend each ("10.0.0.1:8080"), reached by their node ports."""
    fixed = [f":KUBE-{name} - [0:0]" for name in ("MARK-MASQ", "NODEPORTS", "POSTROUTING", "SERVICES")]
    chains: list[str] = []
    rules: list[str] = []
    for port, backend in ports.items():
        name = f"{NAMESPACE}/node-port-{port}:http"
        outer, inner, end = (f"KUBE-{kind}-{_hash(name + backend)[:16]}" for kind in ("EXT", "SVC", "SEP"))
        chains += [f":{chain} - [0:0]" for chain in (outer, inner, end)]
        told = f'-m comment --comment "{name}"'
        rules += [
            f"-A KUBE-NODEPORTS {told} -m tcp -p tcp --dport {port} -j {outer}",
            f'-A {outer} -m comment --comment "masquerade traffic for {name} external destinations" -j KUBE-MARK-MASQ',
            f"-A {outer} -j {inner}",
            f'-A {inner} -m comment --comment "{name} -> {backend}" -j {end}',
            f"-A {end} {told} -s {backend.partition(':')[0]} -j KUBE-MARK-MASQ",
            f"-A {end} {told} -m tcp -p tcp -j DNAT --to-destination {backend}",
        ]
    nat = ["*nat", *fixed, *chains, _IPTABLES_NAT, *rules, _IPTABLES_LAST, "COMMIT"]
    return _IPTABLES_FILTER + "\n".join(nat) + "\n"


def _iptables_rules(member: Member, small: bool) -> Iterator[str]:
    chain, name = _service_chain(member), member.port_name
    place = f'-m comment --comment "{name} cluster IP" -m tcp -p tcp -d {member.address} --dport {PORT}'
    yield f"-A KUBE-SERVICES {place} -j {chain}"
    yield f"-A {chain} {place} ! -s {PODS} -j KUBE-MARK-MASQ"
    left = len(member.backends)
    for endpoint, address in zip(_endpoint_chains(member), member.backends, strict=True):
        told = f'-m comment --comment "{name} -> {address}:{TARGET}" ' if small else ""
        choice = f"-m statistic --mode random --probability {1 / left:.10f} " if left > 1 else ""
        yield f"-A {chain} {told}{choice}-j {endpoint}"
        told = f'-m comment --comment "{name}" ' if small else ""
        yield f"-A {endpoint} {told}-s {address} -j KUBE-MARK-MASQ"
        yield f"-A {endpoint} {told}-m tcp -p tcp -j DNAT --to-destination {address}:{TARGET}"
        left -= 1


def nftables(fleet: Fleet) -> str:
    """For `nft -f`."""
    lines = [_NFT_BASE]
    for member in fleet.members():
        lines += _nft_rules(member)
    return "\n".join(lines) + "\n"


def _nft_rules(member: Member) -> Iterator[str]:
    path = f"{NAMESPACE}/{member.name}/tcp/http"
    chain = f"service-{_hash(path)[:8]}-{path}"
    endpoints = [f"endpoint-{_hash(path + address)[:8]}-{path}__{address}/{TARGET}" for address in member.backends]
    for name in (chain, *endpoints):
        yield f"add chain ip kube-proxy {name}"
    place = f"ip daddr {member.address} tcp dport {PORT}"
    yield f"add rule ip kube-proxy {chain} {place} ip saddr != {PODS} jump mark-for-masquerade"
    choice = " , ".join(f"{number} : goto {endpoint}" for number, endpoint in enumerate(endpoints))
    yield f"add rule ip kube-proxy {chain} numgen random mod {len(endpoints)} vmap {{ {choice} }}"
    for endpoint, address in zip(endpoints, member.backends, strict=True):
        yield f"add rule ip kube-proxy {endpoint} ip saddr {address} jump mark-for-masquerade"
        yield f"add rule ip kube-proxy {endpoint} meta l4proto tcp dnat to {address}:{TARGET}"
    yield f"add element ip kube-proxy cluster-ips {{ {member.address} }}"
    yield f"add element ip kube-proxy service-ips {{ {member.address} . tcp . {PORT} : goto {chain} }}"


def _service_chain(member: Member) -> str:
    return f"KUBE-SVC-{_hash(member.port_name + 'tcp')[:16]}"


def _endpoint_chains(member: Member) -> list[str]:
    return [f"KUBE-SEP-{_hash(f'{member.port_name}tcp{address}:{TARGET}')[:16]}" for address in member.backends]


def _hash(text: str) -> str:
    return b32encode(sha256(text.encode()).digest()).decode()
