"""What can be set, with unit, default and reason; read from one YAML file.

Every field has a default that serves a plain host, so an empty file and no file
at all mean the same. A name that is not known is an error, not a silence.
"""

from __future__ import annotations

import socket
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated

import msgspec
import yaml

from ebpf.errors import RemoraError
from ebpf.source import Options

DEFAULT_PATH = Path("/etc/remora/config.yaml")

Count = Annotated[int, msgspec.Meta(ge=1)]


class SettingsError(RemoraError):
    """The settings file cannot be used; names file and field."""


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All settings. Paths are absolute."""

    node_name: str = ""
    """name of this node, as EndpointSlices write it; default: the host's name"""
    cluster_name: str = "default"
    """name of the cluster; shown before the node's name unless it is `default`, as Hubble does"""
    zone: str = ""
    """topology zone of this node, for EndpointSlices with hints; default: none"""
    manifests: str = "/etc/remora/manifests"
    """folder of Kubernetes-format YAML: Services, EndpointSlices, Pods, Namespaces"""
    bpffs: str = "/sys/fs/bpf/remora"
    """folder of the pins; one for each agent on a kernel"""
    state_dir: str = "/run/remora"
    """folder of the lock and of the build's manifest; one for each agent"""
    socket: str = "/run/remora/remora.sock"
    """unix socket of the API"""
    cgroup: str = ""
    """cgroup v2 folder whose processes reach Services; default: the root of the hierarchy, so every process"""
    metrics_address: str = "127.0.0.1:9965"
    """address and port of the Prometheus endpoint, Hubble's port; empty: none"""
    healthz_address: str = ""
    """address and port of /healthz and /livez, kube-proxy's is 0.0.0.0:10256; empty: none, as on a plain host"""
    proxymode_address: str = ""
    """address and port of /proxyMode, kube-proxy's is 127.0.0.1:10249; empty: none"""
    flow_capacity: Count = 262_144
    """flow records that are kept (168 bytes each), where Hubble keeps 4,095"""
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
    http_budget: Count = 500
    """HTTP requests a second and CPU that are told; what goes beyond is counted, and costs nothing more"""
    report_interval: Annotated[float, msgspec.Meta(ge=0.1)] = 5.0
    """time between two records of an active connection (s), Cilium's monitor interval"""

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

    def options(self) -> Options:
        """The sizes that are fixed when programs are loaded; raises SettingsError."""
        first, last = self.snat_range
        return Options(
            translations_max=self.translations,
            source_ranges_max=self.source_ranges,
            snat_port_first=first,
            snat_port_last=last,
            services_max=self.services,
            backends_max=self.backends,
            addresses_max=self.addresses,
            connections_max=self.connections,
            http_budget=self.http_budget,
            report_interval_ns=int(self.report_interval * 1e9),
        )


def load(path: Path | None) -> Settings:
    """Read a file; None means the default path, or no file at all. Raises SettingsError."""
    if path is None:
        if not DEFAULT_PATH.exists():
            return Settings()
        path = DEFAULT_PATH
    try:
        return msgspec.convert(yaml.safe_load(path.read_text()) or {}, Settings)
    except OSError as error:
        what = f"cannot read settings {path}: {error.strerror}"
        raise SettingsError(what, "name a readable file with --config") from error
    except (yaml.YAMLError, msgspec.ValidationError) as error:
        raise SettingsError(f"settings {path}: {' '.join(str(error).split())}") from error
