"""The datapath as the agent sees it: maps to read and write, programs to attach.

Everything that carries traffic is pinned. Closing a Datapath, or killing the
process that holds it, changes nothing for traffic; a new one continues on the
same maps, and attaching it swaps programs in place.
"""

from __future__ import annotations

import fcntl
import logging
import os
import socket
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, Any

import numpy as np

from bpf_programs import ROOT
from ebpf import attach, bpffs, build, libbpf, xdp
from ebpf.build import Build
from ebpf.constants import NodeFlag, WireMode
from ebpf.errors import KernelError, PinError
from ebpf.features import DROP_REASONS, EXTENSIONS, Features
from ebpf.maps import HashMap, PerCpuArray, PerCpuHash
from ebpf.namespaces import netns_cookie
from ebpf.programs import PROGRAMS, UPLINK_HOOKS, WORKLOAD_HOOKS, Hook, Program
from ebpf.ringbuf import RingBuffer
from ebpf.source import Options

log = logging.getLogger(__name__)

_KEYED = (libbpf.MapType.HASH, libbpf.MapType.LRU_HASH, libbpf.MapType.ARRAY, libbpf.MapType.LPM_TRIE)


@dataclass(frozen=True, slots=True)
class Attachment:
    """One program where it is attached; `where` is a device, a cgroup or a tracepoint."""

    program: str
    hook: Hook
    where: str


class Datapath:
    """Open with Datapath(...), then attach. One per root folder and process; raises PinError where another runs."""

    def __init__(self, root: Path, state: Path, options: Options, features: Features, programs: Path = ROOT) -> None:
        features.require()
        self.features = features
        self._lock = _lock(state)
        self.root = root
        try:
            self.build: Build = build.prepare(root, state, options, features.defines(), programs)
        except BaseException:
            self._lock.close()
            raise
        self.maps = {n: HashMap(s, self.build.path(n)) for n, s in self.build.maps.items() if s.kind in _KEYED}
        self.counters = PerCpuArray(self.build.maps["counters"], self.build.path("counters"))
        self.kernel_drops = PerCpuArray(self.build.maps["kernel_drops"], self.build.path("kernel_drops"))
        self.rule_hits = self._per_cpu_hash("rule_hits")
        self.shield_hits = self._per_cpu_hash("shield_hits") if options.xdp else None
        """what rules of the shield decided; None where there is no program for XDP"""
        self._programs = {
            program.name: libbpf.obj_get(self.build.pins / program.name)
            for program in PROGRAMS
            if not {program.name, program.needs} & self.build.missing.keys() and _is_made(program, options, features)
        }
        self._netns = netns_cookie()
        self._tell_node()
        self._cgroup: Path | None = None
        self.devices: dict[int, str] = {}
        self.uplinks: dict[int, str] = {}
        self.wires: dict[int, xdp.Mode] = {}
        """where the uplinks that XDP runs on have it"""

    @property
    def flow_dtype(self) -> np.dtype[np.void]:
        """dtype of struct flow_event."""
        return self.payload_dtype["flow"]

    @property
    def payload_dtype(self) -> np.dtype[np.void]:
        """dtype of struct payload_event."""
        return self.build.maps["payload_scratch"].value

    def program(self, name: str) -> int:
        """Descriptor of a loaded program; raises KeyError for one that the kernel refused."""
        return self._programs[name]

    def ring(self, name: str) -> RingBuffer:
        """A ring buffer, to be closed by the caller."""
        return RingBuffer(self.build.path(name), self.build.maps[name].max_entries)

    def attach_cgroup(self, cgroup: Path) -> None:
        """Attach the socket programs to a cgroup, and the tracepoints; raises AttachError."""
        links = self.root / "links"
        links.mkdir(mode=0o700, exist_ok=True)
        for program in self._loaded(Hook.CGROUP):
            assert program.attach_type is not None
            attach.attach_cgroup(self._programs[program.name], program.attach_type, cgroup, links / program.name)
        for program in self._loaded(Hook.RAW_TRACEPOINT):
            attach.attach_raw_tracepoint(self._programs[program.name], program.name, links / program.name)
        self._cgroup = cgroup

    def attach_device(self, ifindex: int, name: str) -> None:
        """Attach the packet programs to a workload's device; raises AttachError."""
        self._attach(ifindex, WORKLOAD_HOOKS)
        self.devices[ifindex] = name

    def attach_uplink(self, ifindex: int, name: str) -> None:
        """Attach the packet programs to a device that leads to the world outside; raises AttachError."""
        self._attach(ifindex, UPLINK_HOOKS)
        self.uplinks[ifindex] = name

    @property
    def has_xdp(self) -> bool:
        """Is there a program for XDP, in either mode?"""
        return {xdp.PROGRAM, xdp.WHOLE} <= self._programs.keys()

    def attach_wire(self, ifindex: int, mode: xdp.Mode) -> None:
        """Attach the XDP program to an uplink, or take it off; raises AttachError where a stranger's is there.

        In a dispatcher it has the dispatcher's mode; `wires` says which.
        """
        self._tell_wire(ifindex, xdp.Mode.OFF)  # no frame crosses from a device to one that is just changing
        if mode is xdp.Mode.OFF:
            self.wires.pop(ifindex, None)
            xdp.detach(ifindex)
            return
        program, extension = self._programs[xdp.program_of(mode)], self._programs.get(xdp.EXTENSION)
        self.wires[ifindex] = xdp.attach(ifindex, program, mode, extension)
        self._tell_wire(ifindex, self.wires[ifindex])

    def beside(self, ifindex: int) -> list[str]:
        """Names of the XDP programs of others that run on a device with ours; raises KernelError."""
        return xdp.beside(ifindex)

    def detach_device(self, ifindex: int) -> None:
        """Take the packet programs off a device of either kind; one that is gone is fine."""
        for known in (self.devices, self.uplinks, self.wires):
            known.pop(ifindex, None)
        xdp.detach(ifindex)
        attach.detach_tc(ifindex)

    def is_attached(self, ifindex: int) -> bool:
        """Do this build's own programs hang on the device?"""
        return self._is_wired(ifindex) and all(
            attach.program_at(ifindex, hook) == libbpf.program_id(self._programs[program.name])
            for hook in (UPLINK_HOOKS if ifindex in self.uplinks else WORKLOAD_HOOKS)
            for program in self._loaded(hook)
        )

    def _is_wired(self, ifindex: int) -> bool:
        wanted = self.wires.get(ifindex, xdp.Mode.OFF)
        fds = [self._programs[name] for name in (xdp.program_of(wanted), xdp.EXTENSION) if name in self._programs]
        return wanted is xdp.Mode.OFF or xdp.runs(ifindex, [libbpf.program_id(fd) for fd in fds]) is wanted

    def remove_old(self) -> None:
        """Unpin what earlier builds left; call after everything was attached anew."""
        gone = build.remove_others(self.build)
        if any(name.startswith("maps-") for name in gone):
            log.warning("the layout of the maps changed: connection state starts anew")

    def attachments(self) -> list[Attachment]:
        """Everything that is attached through this object."""
        found = [Attachment(p.name, p.hook, str(self._cgroup)) for p in self._loaded(Hook.CGROUP) if self._cgroup]
        found += [Attachment(p.name, p.hook, p.name) for p in self._loaded(Hook.RAW_TRACEPOINT) if self._cgroup]
        for devices, hooks in ((self.devices, WORKLOAD_HOOKS), (self.uplinks, UPLINK_HOOKS)):
            for hook in hooks:
                found += [Attachment(p.name, hook, name) for name in devices.values() for p in self._loaded(hook)]
        for one, mode in self.wires.items():
            found += [Attachment(xdp.program_of(mode), Hook.XDP, self.uplinks[one])] if one in self.uplinks else []
        return found

    def close(self) -> None:
        """Let go of everything; programs, maps and attachments stay in the kernel."""
        for table in (*self.maps.values(), self.counters, self.kernel_drops, self.rule_hits, self.shield_hits):
            if table:
                table.close()
        for fd in self._programs.values():
            os.close(fd)
        self._lock.close()

    def tell_node(self, address4: bytes, address6: bytes) -> None:
        """Tell the programs the node's main addresses (16 bytes each, zeros where it has none); raises KernelError."""
        self._tell_node(address4=np.frombuffer(address4, np.uint32), address6=np.frombuffer(address6, np.uint32))

    def tell_flags(self, flags: NodeFlag) -> None:
        """Tell the programs how clients outside are answered; raises KernelError."""
        self._tell_node(flags=flags)

    def has_filter(self, ifindex: int) -> bool:
        """Does a program of any build of ours hang on the device? Raises AttachError."""
        return _has_filter(ifindex)

    def _tell_node(self, **fields: np.ndarray[Any, Any] | int) -> None:
        """The programs tell the node's own processes by the namespace in which the agent runs."""
        table = self.maps["node"]
        key = np.zeros(1, table.key_dtype)
        value = table.lookup(key)
        assert value is not None, "an array has all its entries"
        value["netns"] = self._netns
        for name, content in fields.items():
            value[name] = content
        table.update(key, value)

    def _per_cpu_hash(self, name: str) -> PerCpuHash:
        return PerCpuHash(self.build.maps[name], self.build.path(name))

    def _tell_wire(self, ifindex: int, mode: xdp.Mode) -> None:
        table = self.maps["uplinks"]
        key = np.full(1, ifindex, table.key_dtype)
        value = table.lookup(key)
        if value is not None:
            value["wire"] = wire_mode(mode)
            table.update(key, value)

    def _attach(self, ifindex: int, hooks: tuple[Hook, ...]) -> None:
        for hook in hooks:
            for program in self._loaded(hook):
                attach.attach_tc(ifindex, hook, self._programs[program.name])

    def _loaded(self, hook: Hook) -> list[Program]:
        return [program for program in PROGRAMS if program.hook is hook and program.name in self._programs]


def _is_made(program: Program, options: Options, features: Features) -> bool:
    if program.hook is not Hook.XDP:
        return program.hook is not Hook.RAW_TRACEPOINT or features.has(DROP_REASONS)
    return bool(options.xdp) and (program.type is not libbpf.ProgramType.EXT or features.has(EXTENSIONS))


def wire_mode(mode: xdp.Mode) -> WireMode:
    """A mode of XDP as the programs know it."""
    return WireMode[mode.name]


def cleanup(root: Path, state: Path) -> list[str]:
    """Detach from all devices of this namespace and unpin everything; what was done, in words. Raises PinError."""
    lock = _lock(state) if state.is_dir() else None
    done = [f"detached from {name}" for name in _detach_all()] if root.is_dir() else []
    removed = bpffs.remove_tree(root)
    if removed:
        done.append(f"removed {removed} pins below {root}")
    (state / "build.json").unlink(missing_ok=True)
    if lock:
        lock.close()
    return done


def _detach_all() -> list[str]:
    names = []
    for ifindex, name in socket.if_nameindex():
        try:
            wired, filtered = xdp.detach(ifindex), _has_filter(ifindex)
            if filtered:
                attach.detach_tc(ifindex)
            if wired or filtered:
                names.append(name)
        except KernelError as error:
            log.warning("%s", error)
    return names


def _has_filter(ifindex: int) -> bool:
    return any(attach.program_at(ifindex, hook) is not None for hook in WORKLOAD_HOOKS)


def _lock(state: Path) -> IO[str]:
    """Hold the state folder, and say in it who does; raises PinError where another agent does."""
    state.mkdir(parents=True, exist_ok=True)
    file = (state / "lock").open("a+")
    os.fchmod(file.fileno(), 0o600)  # who may open it may hold it
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.seek(0)
        holder = file.read().strip()
        file.close()
        hint = "stop it or restart its service, which touches no traffic; or give this one its own bpffs and state_dir"
        raise PinError(f"another agent holds {state}{f' ({holder})' if holder else ''}", hint=hint) from error
    file.truncate(0)
    file.write(f"pid {os.getpid()}, version {_version()}")
    file.flush()
    return file


def _version() -> str:
    try:
        return version("remora")
    except PackageNotFoundError:
        return "unknown"
