"""Is a host ready? Asked of folders that stand for hosts, and of tools that answer what a test says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from daemon.agent import host as host_module
from daemon.agent.finding import Finding, Level
from daemon.agent.host import Host, ToolError, run_tool
from daemon.agent.preflight import inspect, ready
from daemon.settings import Settings

GOOD = {
    "proc/self/mounts": "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\nbpf /sys/fs/bpf bpf rw 0 0",
    "proc/sys/net/ipv4/ip_local_reserved_ports": "80,10000-32767",
    "proc/sys/net/ipv4/ip_local_port_range": "1024\t60999",
    "proc/sys/net/ipv4/ip_forward": "1",
    "proc/sys/net/ipv6/conf/all/forwarding": "1",
    "proc/sys/net/ipv4/conf/all/rp_filter": "0",
    "proc/sys/net/ipv4/conf/eth0/rp_filter": "2",
    "sys/fs/cgroup/cgroup.procs": "",
    "usr/include/linux/types.h": "",
    "usr/include/x86_64-linux-gnu/asm/types.h": "",
}
Tools = Mapping[str, str | ToolError]


def found(
    folder: Path, tools: Tools | None = None, settings: Settings | None = None, **files: str
) -> dict[str, Finding]:
    """Findings by what they are about; keyword names have __ for / and are added to a good host's files."""
    for name, text in (GOOD | {name.replace("__", "/"): text for name, text in files.items()}).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def run(argv: Sequence[str]) -> str | None:
        answer = ({"nft": ""} if tools is None else tools).get(argv[0])
        if isinstance(answer, ToolError):
            raise answer
        return answer

    return {one.what: one for one in inspect(settings or Settings(), Host(folder, run=run))}


def test_a_good_host_is_ready(tmp_path: Path) -> None:
    told = found(tmp_path)
    del told["kernel"], told["BCC"]  # they are those of the host that the test runs on
    assert {one.level for one in told.values()} == {Level.OK}


IPTABLES = """*nat
:PREROUTING ACCEPT [0:0]
:KUBE-KUBELET-CANARY - [0:0]
:KUBE-SERVICES - [0:0]
:KUBE-SVC-NPX46M4PTMTKRN6Y - [0:0]
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
COMMIT
"""
NFT = """table ip kube-proxy {
\tchain services {
\t}
\tchain service-ULMVA6XW-shop/web/tcp/http {
\t}
}
"""


@pytest.mark.parametrize(
    ("tools", "words"),
    [
        ({"iptables-save": IPTABLES}, "2 chains by iptables-save"),
        ({"nft": NFT}, "1 chains by nft"),
        ({"nft": "table ip6 kube-proxy {\n}\n"}, "1 chains by nft"),
    ],
)
def test_leftover_rules_are_counted_with_what_to_do(tmp_path: Path, tools: Tools, words: str) -> None:
    one = found(tmp_path, tools)["kube-proxy rules"]
    assert one.level is Level.WARN
    assert words in one.words
    assert "kube-proxy --cleanup" in one.todo


def test_chains_of_the_kubelet_are_no_leftovers(tmp_path: Path) -> None:
    own = ":KUBE-KUBELET-CANARY - [0:0]\n:KUBE-FIREWALL - [0:0]\n:KUBE-MARK-MASQ - [0:0]\n"
    assert found(tmp_path, {"iptables-save": own})["kube-proxy rules"].level is Level.OK


def test_rules_that_could_not_be_seen_are_not_said_to_be_absent(tmp_path: Path) -> None:
    refused = found(tmp_path, {"nft": ToolError("nft failed: Operation not permitted")})["kube-proxy rules"]
    assert (refused.level, refused.todo) == (Level.WARN, "run as root")
    assert found(tmp_path, {})["kube-proxy rules"].level is Level.WARN


def test_a_running_kube_proxy_and_ipvs_are_seen(tmp_path: Path) -> None:
    told = found(
        tmp_path, proc__4711__comm="kube-proxy\n", proc__net__ip_vs="IP Virtual Server\nTCP  0A600001:0050 rr\n"
    )
    assert "4711" in told["kube-proxy process"].words
    assert "1 virtual servers" in told["IPVS"].words


def test_no_cgroup_v2_is_a_failure(tmp_path: Path) -> None:
    told = found(tmp_path, proc__self__mounts="bpf /sys/fs/bpf bpf rw 0 0")
    assert told["cgroup v2"].level is Level.FAIL
    assert not ready(list(told.values()))


def test_a_part_of_the_cgroup_tree_is_told_from_the_whole(tmp_path: Path) -> None:
    (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
    (tmp_path / "sys/fs/cgroup/cgroup.type").write_text("domain")
    assert "not the root" in found(tmp_path)["cgroup v2"].words
    chosen = found(tmp_path, settings=Settings(cgroup="/sys/fs/cgroup"))["cgroup v2"]
    assert (chosen.level, chosen.words) == (Level.OK, "/sys/fs/cgroup (from the settings)")
    missing = found(tmp_path, settings=Settings(cgroup="/sys/fs/cgroup/none"))["cgroup v2"]
    assert missing.level is Level.FAIL


def test_the_whole_tree_is_that_also_in_a_cgroup_namespace_of_its_own(tmp_path: Path) -> None:
    """As in a pod, where the host's tree is mounted in place of the container's own part."""
    link = tmp_path / "proc/self/ns/cgroup"
    link.parent.mkdir(parents=True)
    link.symlink_to("cgroup:[4026532826]")
    assert [name for name in found(tmp_path) if name.startswith("cgroup")] == ["cgroup v2"]


def test_bpffs_that_is_not_mounted_is_a_warning_where_the_agent_can_mount_it(tmp_path: Path) -> None:
    mounts = "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0"
    assert found(tmp_path, proc__self__mounts=mounts)["bpffs"].level is Level.WARN
    elsewhere = found(tmp_path, settings=Settings(bpffs="/var/pins"))["bpffs"]
    assert elsewhere.level is Level.FAIL


def test_strict_reverse_path_filters_are_named_by_device(tmp_path: Path) -> None:
    one = found(tmp_path, proc__sys__net__ipv4__conf__eth1__rp_filter="1")["rp_filter"]
    assert (one.level, "strict on eth1:" in one.words) == (Level.WARN, True)
    many = found(tmp_path, **{f"proc__sys__net__ipv4__conf__v{index}__rp_filter": "1" for index in range(7)})
    assert "and 3 more" in many["rp_filter"].words


def test_a_loose_setting_for_all_overrides_strict_devices(tmp_path: Path) -> None:
    conf = "proc__sys__net__ipv4__conf__"
    told = found(tmp_path, **{f"{conf}all__rp_filter": "2", f"{conf}eth1__rp_filter": "1"})
    assert told["rp_filter"].level is Level.OK


@pytest.mark.parametrize(
    ("reserved", "local", "level"),
    [
        ("", "32768 60999", Level.OK),
        ("", "1024 60999", Level.WARN),
        ("30000-32000", "1024 60999", Level.WARN),
        ("30000-32000,32001-32767", "1024 60999", Level.OK),
    ],
)
def test_node_ports_must_be_out_of_reach_of_outgoing_connections(
    tmp_path: Path, reserved: str, local: str, level: Level
) -> None:
    folder = "proc__sys__net__ipv4__"
    files = {f"{folder}ip_local_reserved_ports": reserved, f"{folder}ip_local_port_range": local}
    assert found(tmp_path, **files)["NodePort range"].level is level


def test_missing_headers_name_their_package(tmp_path: Path) -> None:
    found(tmp_path)
    (tmp_path / "usr/include/linux/types.h").unlink()
    told = {one.what: one for one in inspect(Settings(), Host(tmp_path, run=lambda argv: None))}
    assert (told["UAPI headers"].level, told["UAPI headers"].todo) == (Level.FAIL, "apt install linux-libc-dev")


def test_a_file_with_nonsense_is_a_finding_and_no_crash(tmp_path: Path) -> None:
    told = found(tmp_path, proc__sys__net__ipv4__ip_local_reserved_ports="x-y")
    assert any(one.level is Level.WARN and "not looked at" in one.words for one in told.values())


def test_tools_run_in_bounded_time_and_tell_why_they_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_module, "RUN_TIMEOUT", 0.2)
    assert run_tool(["no-such-tool-anywhere"]) is None
    assert run_tool(["echo", "; id"]) == "; id\n"
    with pytest.raises(ToolError, match="did not finish"):
        run_tool(["sleep", "5"])
    with pytest.raises(ToolError, match="No such file"):
        run_tool(["ls", "/no-such-folder"])


def test_ports_that_hide_clients_should_be_none_of_the_nodes_own(tmp_path: Path) -> None:
    local = {
        "proc__sys__net__ipv4__ip_local_port_range": "32768\t60999",
        "proc__sys__net__ipv4__ip_local_reserved_ports": "",
    }
    assert found(tmp_path, **local)["snat_ports"].level is Level.OK
    told = found(tmp_path, settings=Settings(snat_ports="60000-65535"), **local)["snat_ports"]
    assert told.level is Level.WARN
    assert "60000-65535" in told.words


@pytest.mark.parametrize("setting", ["ipv4__ip_forward", "ipv6__conf__all__forwarding"])
def test_a_node_that_does_not_forward_is_told_that_nobody_outside_reaches_services(
    tmp_path: Path, setting: str
) -> None:
    assert found(tmp_path, **{f"proc__sys__net__{setting}": "0"})["forwarding"].level is Level.WARN
