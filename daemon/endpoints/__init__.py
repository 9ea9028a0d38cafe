"""Who runs on this node: found, not configured.

Devices of the node are matched to network namespaces (`discovery`), those to the pods that the sources know, and
the result is told to the kernel and to everybody who asks for names (`registry`). It works beside any CNI and with
plain `ip netns`, because it asks only the kernel.
"""

from daemon.endpoints.device import Device, Devices, Uplink
from daemon.endpoints.discovery import Discovery, scan
from daemon.endpoints.joining import Party
from daemon.endpoints.packet_path import PacketPath, Rule
from daemon.endpoints.registry import Changes, WorkloadRegistry

__all__ = [
    "Changes",
    "Device",
    "Devices",
    "Discovery",
    "PacketPath",
    "Party",
    "Rule",
    "Uplink",
    "WorkloadRegistry",
    "scan",
]
