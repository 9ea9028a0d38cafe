"""What can be set, with unit, default and reason; read from one YAML file.

Every field has a default that serves a plain host, so an empty file and no file
at all mean the same. A name that is not known is an error, not a silence.
"""

from __future__ import annotations

import os
import re
import socket
import stat
from enum import Enum
from fnmatch import fnmatchcase
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import yaml

from daemon.model.policies import LabelSelector
from ebpf.constants import NodeFlag, PolicyFlag
from ebpf.errors import RemoraError
from ebpf.source import Options

DEFAULT_PATH = Path("/etc/remora/config.yaml")
NODE_NAME = "REMORA_NODE_NAME"
"""the one setting that the environment can say: Kubernetes tells a pod there which node it is on"""
API_GROUP = "remora"
"""whose members may use the API's socket"""

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}  # Kubernetes' words for uname's

Count = Annotated[int, msgspec.Meta(ge=1)]


class PolicyDefault(Enum):
    """What holds for a workload until its first verdict."""

    ALLOW = "allow"
    DENY = "deny"


class Established(Enum):
    """What becomes of an established connection that a new verdict would deny."""

    CUT = "cut"
    KEEP = "keep"


class OutsideAlgorithm(Enum):
    """How backends are chosen for clients outside."""

    RANDOM = "random"
    MAGLEV = "maglev"


class OutsideMode(Enum):
    """How the answers of other nodes' backends come to clients outside."""

    SNAT = "snat"
    DSR = "dsr"
    HYBRID = "hybrid"


class XdpMode(Enum):
    """Where the XDP program of a device that leads outside runs."""

    OFF = "off"
    AUTO = "auto"
    NATIVE = "native"
    GENERIC = "generic"


class SettingsError(RemoraError):
    """The settings file cannot be used; names file and field."""


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All settings. Paths are absolute."""

    node_name: str = ""
    """name of this node, as EndpointSlices write it; default: the host's name. The environment's REMORA_NODE_NAME goes
    before it, for settings that many nodes share"""
    cluster_name: str = "default"
    """name of the cluster; shown before the node's name unless it is `default`, as Hubble does"""
    zone: str = ""
    """topology zone of this node, for EndpointSlices with hints; default: none"""
    source: Literal["folder", "kubernetes"] = "folder"
    """where Services and pods come from: YAML in `manifests`, or the API server of a cluster"""
    kubeconfig: str = ""
    """file with the API server's address and credentials; default: the pod's service account"""
    api_server: str = ""
    """address of the API server (https://host:6443) in place of the one in the kubeconfig or the service account, which
    may be a Service's address that only works when the agent works"""
    manifests: str = "/etc/remora/manifests"
    """folder of Kubernetes-format YAML: Services, EndpointSlices, Pods, Namespaces, Nodes, policies and Shields"""
    bpffs: str = "/sys/fs/bpf/remora"
    """folder of the pins; one for each agent on a kernel"""
    state_dir: str = "/run/remora"
    """folder of the lock and of the build's manifest; one for each agent"""
    socket: str = "/run/remora/remora.sock"
    """unix socket of the API"""
    listen_address: str = ""
    """address and port of the API over TCP, Hubble's is :4244; empty: none, only the socket"""
    node_address: str = ""
    """address under which other hosts reach this one, told to aggregators; default: the first of the host's own"""
    tls_cert_file: str = ""
    """PEM certificate of the API over TCP, read again when it changes"""
    tls_key_file: str = ""
    """PEM key of that certificate"""
    tls_client_ca_files: list[str] = []
    """PEM authorities that must vouch for clients over TCP; empty: any client that gets there may ask"""
    disable_tls: bool = False
    """serve plain text over TCP; without a certificate and without this, listen_address is refused"""
    node_labels: dict[str, str] = {}
    """labels of this node, shown with every flow, beside its name, system and architecture"""
    cgroup: str = ""
    """cgroup v2 folder whose processes reach Services; default: the root of the hierarchy, so every process"""
    metrics_address: str = "127.0.0.1:9965"
    """address and port of the Prometheus endpoint, Hubble's port; empty: none"""
    metrics: tuple[str, ...] | None = None
    """flow metrics and their labels, in Hubble's syntax (`drop:sourceContext=pod`); default: all (docs/metrics.md)"""
    metric_series: Count = 2_000
    """series that one flow metric may have; what goes beyond is counted and shown"""
    healthz_address: str = ""
    """address and port of /healthz and /livez, kube-proxy's is 0.0.0.0:10256; empty: none, as on a plain host"""
    proxymode_address: str = ""
    """address and port of /proxyMode, kube-proxy's is 127.0.0.1:10249; empty: none"""
    packet_path_runtimes: tuple[str, ...] = ("gvisor*", "runsc*", "kata*")
    """runtime classes (patterns) whose pods have a network stack of their own: their Services are translated at the
    device, packet by packet"""
    packet_path_labels: tuple[str, ...] = ()
    """labels (`key` or `key=value`) of pods that are left to the per-packet path too, such as those of a service mesh
    that must see ClusterIPs; the annotation `remora.io/service-path: packet` does it for one pod, `socket` undoes it"""
    flow_capacity: Count = 262_144
    """flow records that are kept (184 bytes each), where Hubble keeps 4,095"""
    services: Count = 65_536
    """frontends in the kernel (entries): 10,000 Services with two ports and two families, with room"""
    backends: Count = 262_144
    """service slots in the kernel (entries)"""
    addresses: Count = 65_536
    """addresses of workloads in the kernel (entries)"""
    connections: Count = 131_072
    """tracked connections (entries, the oldest give way)"""
    uplinks: tuple[str, ...] = ()
    """devices that lead outside, names or patterns (eth*); default: those with a default route, and VXLAN and Geneve"""
    nodeport_addresses: tuple[str, ...] = ()
    """on which of the node's addresses node ports answer (CIDRs), as kube-proxy's --nodeport-addresses; default: all"""
    translations: Count = 131_072
    """directions of connections from outside, two for each (entries); what finds no room is refused, none gives way"""
    source_ranges: Count = 16_384
    """prefixes of loadBalancerSourceRanges (entries)"""
    snat_ports: str = "10000-29999"
    """source ports that hide clients from outside; not of ip_local_port_range, which the node's own sockets use"""
    outside_algorithm: OutsideAlgorithm = OutsideAlgorithm.RANDOM
    """how backends are chosen for clients outside: `random`, or `maglev`, alike on every node; the annotation
    `remora.io/algorithm` says it for one Service"""
    maglev_places: Literal[251, 509, 1021, 2039, 4093, 8191, 16381, 32749, 65521, 131071] = 16381
    """places of a Maglev table, the same on all nodes; a hundred for each backend keep shares within a percent"""
    maglev_rows: Count = 65_536
    """rows of Maglev tables in the kernel (128 places each, 330 bytes taken when used): 512 tables of 16,381 places"""
    outside_mode: OutsideMode = OutsideMode.SNAT
    """answers of other nodes' backends come back by this node (`snat`), go to the client directly (`dsr`), or directly
    for TCP alone (`hybrid`); the same on all nodes"""
    xdp: XdpMode = XdpMode.OFF
    """the first line on devices that lead outside: in the driver (`native`), behind it (`generic`, every device can),
    `auto` for native where the driver can and else generic, or `off`"""
    xdp_devices: dict[str, XdpMode] = {}
    """the same for single devices, by name or pattern (eth*); the first that fits decides"""
    shield_lists: str = "/etc/remora/shield"
    """folder of the lists that Shields name as `file`: one address or network a line, read again when they change"""
    shield_addresses: Count = 131_072
    """single addresses on the shield's lists (entries)"""
    shield_networks: Count = 131_072
    """networks on the shield's lists (entries of each family)"""
    acceleration: bool = False
    """translate what clients outside send to Services by XDP, where it runs, before the kernel makes a socket buffer"""
    http_budget: Count = 500
    """HTTP requests a second and CPU that are told; what goes beyond is counted, and costs nothing more"""
    policy_default: PolicyDefault = PolicyDefault.ALLOW
    """for workloads without a verdict yet, `allow`: everything passes and is judged later; or `deny`: nothing does"""
    policy_established: Established = Established.CUT
    """connections that a new policy denies: `cut` them, or `keep` them until they end"""
    source_check: bool = True
    """drop what a pod sends from an address that is not its own"""
    guards: Count = 4096
    """devices of pods in the kernel (entries)"""
    classes: Count = 65_536
    """addresses that policies tell apart (entries): 10,000 pods of two families, with room"""
    networks: Count = 16_384
    """networks of policies (entries)"""
    rulesets: Count = 8192
    """sets of rules of this node's pods (entries); old and new ones are there at once during a change"""
    policies: Count = 131_072
    """entries of all sets of rules; old and new ones are there at once during a change"""
    rules: Count = 16_384
    """rules whose packets are counted (entries)"""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """what is written to the log, on standard error"""
    log_format: Literal["auto", "text", "json"] = "auto"
    """`text` for people, `json` for collectors, one object a line; auto: text on a terminal, json elsewhere"""
    policy_audit: LabelSelector | None = None
    """policies (by their own labels) whose denials are only counted and told, besides those that are annotated
    remora.io/mode: audit; default: none"""
    report_interval: Annotated[float, msgspec.Meta(ge=0.1)] = 5.0
    """time between two records of an active connection (s), Cilium's monitor interval"""
    verify_interval: Annotated[float, msgspec.Meta(ge=0.1)] = 30.0
    """time between looks whether our programs are still on their devices (s), kube-proxy's syncPeriod; who takes them
    off is noticed no later"""

    @property
    def node(self) -> str:
        """The node's name, never empty."""
        return self.node_name or socket.gethostname()

    @property
    def qualified_node(self) -> str:
        """The node's name with the cluster's before it, as flows carry it."""
        return self.node if self.cluster_name in ("", "default") else f"{self.cluster_name}/{self.node}"

    @property
    def node_port_networks(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """`nodeport_addresses`, read; raises SettingsError."""
        try:
            return tuple(ip_network(text, strict=False) for text in self.nodeport_addresses)
        except ValueError as error:
            raise SettingsError(f"settings, nodeport_addresses: {error}", "write CIDRs, as 192.0.2.0/24") from error

    @property
    def snat_range(self) -> tuple[int, int]:
        """`snat_ports`, read: first and last; raises SettingsError."""
        first, _, last = self.snat_ports.partition("-")
        if not (first.isdigit() and last.isdigit() and 1 <= int(first) <= int(last) <= 65535):
            raise SettingsError(f"settings, snat_ports: {self.snat_ports} is no range of ports", "write 10000-29999")
        return int(first), int(last)

    def node_flags(self) -> NodeFlag:
        """What the programs must know of `outside_mode` and `acceleration`."""
        direct = {
            OutsideMode.SNAT: NodeFlag(0),
            OutsideMode.DSR: NodeFlag.DIRECT_TCP | NodeFlag.DIRECT_UDP,
            OutsideMode.HYBRID: NodeFlag.DIRECT_TCP,
        }[self.outside_mode]
        return direct | (NodeFlag.ACCELERATE if self.acceleration else NodeFlag(0))

    def xdp_of(self, device: str) -> XdpMode:
        """Where the XDP program of a device is to run."""
        return next((mode for pattern, mode in self.xdp_devices.items() if fnmatchcase(device, pattern)), self.xdp)

    def policy_flags(self) -> PolicyFlag:
        """The settings of policy as the programs know them."""
        unknown = PolicyFlag.DENY_UNKNOWN if self.policy_default is PolicyDefault.DENY else PolicyFlag(0)
        return unknown | (PolicyFlag.KEEP if self.policy_established is Established.KEEP else PolicyFlag(0))

    @property
    def label_map(self) -> dict[str, str]:
        """The node's labels."""
        return {
            "kubernetes.io/arch": _ARCHITECTURES.get(os.uname().machine, os.uname().machine),
            "kubernetes.io/hostname": self.node,
            "kubernetes.io/os": "linux",
            **self.node_labels,
        }

    @property
    def labels(self) -> tuple[str, ...]:
        """The same as flows carry them, sorted."""
        return tuple(sorted(f"{key}={value}" for key, value in self.label_map.items()))

    def options(self) -> Options:
        """The sizes that are fixed when programs are loaded; raises SettingsError."""
        first, last = self.snat_range
        return Options(
            translations_max=self.translations,
            source_ranges_max=self.source_ranges,
            maglev_rows_max=self.maglev_rows,
            snat_port_first=first,
            snat_port_last=last,
            services_max=self.services,
            backends_max=self.backends,
            addresses_max=self.addresses,
            connections_max=self.connections,
            guards_max=self.guards,
            classes_max=self.classes,
            networks_max=self.networks,
            rulesets_max=self.rulesets,
            policies_max=self.policies,
            rules_max=self.rules,
            shield_addresses_max=self.shield_addresses,
            shield_networks_max=self.shield_networks,
            http_budget=self.http_budget,
            report_interval_ns=int(self.report_interval * 1e9),
            xdp=int({self.xdp, *self.xdp_devices.values()} != {XdpMode.OFF}),
        )


def load(path: Path | None) -> Settings:
    """Settings of a file and the environment; None means the default path, or no file at all.

    Raises SettingsError with the line at fault.
    """
    found = _read(path)
    _refuse_strangers("manifests", Path(found.manifests))
    _refuse_strangers("shield_lists", Path(found.shield_lists))
    if found.kubeconfig:
        _refuse_strangers("kubeconfig", Path(found.kubeconfig))
    return msgspec.structs.replace(found, node_name=os.environ.get(NODE_NAME) or found.node_name)


def _read(path: Path | None) -> Settings:
    if path is None:
        if not DEFAULT_PATH.exists():
            return Settings()
        path = DEFAULT_PATH
    try:
        _refuse_strangers("settings", path, path.resolve().parent)
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        what = f"cannot read settings {path}: {getattr(error, 'strerror', None) or 'not UTF-8 text'}"
        raise SettingsError(what, "name a readable file with --config") from error
    return parse(text, str(path))


def parse(text: str, name: str) -> Settings:
    """Settings from a file's text; raises SettingsError with the line at fault."""
    try:
        found = msgspec.convert(yaml.safe_load(text) or {}, Settings)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise SettingsError(f"settings {name}:{line}: no YAML: {error.problem or error.context}") from error
    except (yaml.YAMLError, msgspec.ValidationError) as error:
        what, _, where = " ".join(str(error).split()).partition(" - at `$.")
        field = where.rstrip("`") or _unknown(what)
        told = f"{field}: {what}" if where else what
        raise SettingsError(f"settings {name}:{_line(text, field)}: {told}", _hint(field)) from error
    return _checked(found, Path(name))


def _line(text: str, field: str) -> int:
    """Where a field of the file stands; 1 for one that cannot be found."""
    key = field.split(".")[0].split("[")[0]
    node = yaml.compose(text)
    pairs = node.value if isinstance(node, yaml.MappingNode) else []
    return next((name.start_mark.line + 1 for name, _ in pairs if name.value == key), 1)


def _unknown(what: str) -> str:
    """The field that msgspec says it does not know."""
    found = re.search(r"unknown field `([^`]+)`", what)
    return found[1] if found else ""


def _hint(field: str) -> str:
    """The setting that was meant, where one is near."""
    from difflib import get_close_matches

    known = Settings.__struct_fields__
    near = get_close_matches(field, known, 1) if field not in known else []
    return f"did you mean {near[0]}?" if near else ""


def _refuse_strangers(what: str, *paths: Path) -> None:
    """Who can write these decides what root loads into the kernel; what is not there is no matter."""
    for one in filter(Path.exists, paths):
        if one.stat().st_mode & stat.S_IWOTH and not one.stat().st_mode & stat.S_ISVTX:
            raise SettingsError(f"{what} {paths[0]}: everybody may write {one}", f"chmod o-w {one}")


def _checked(settings: Settings, path: Path) -> Settings:
    """Settings that agree with each other."""
    files = bool(settings.tls_cert_file), bool(settings.tls_key_file)
    if files[0] != files[1]:
        raise SettingsError(f"settings {path}: tls_cert_file and tls_key_file are only of use together", "set both")
    if settings.tls_client_ca_files and not all(files):
        raise SettingsError(f"settings {path}: tls_client_ca_files needs tls_cert_file and tls_key_file", "set them")
    if settings.listen_address and not all(files) and not settings.disable_tls:
        what = f"settings {path}: listen_address would serve every flow of this host in plain text"
        raise SettingsError(what, "set tls_cert_file and tls_key_file, or disable_tls: true")
    if settings.listen_address and not settings.listen_address.rpartition(":")[2].isdecimal():
        raise SettingsError(f"settings {path}: listen_address {settings.listen_address!r} is no host:port", "try :4244")
    return settings
