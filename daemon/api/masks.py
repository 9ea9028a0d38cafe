"""Field masks of GetFlows: strict for those who chose their fields, generous for Hubble's own CLI.

The CLI sends one fixed mask for its text formats, and it forgot fields that it
prints itself: the direction of a policy verdict, DNS names, policy names. So a
mask that holds that list is taken as "at least these" and whole flows are sent;
any other mask is obeyed to the letter.
"""

from __future__ import annotations

from google.protobuf.field_mask_pb2 import FieldMask

from daemon.proto import flow_pb2

CLI_FIELDS = frozenset(
    (
        "time",
        "verdict",
        "ethernet",
        "IP",
        "l4",
        "source.identity",
        "source.namespace",
        "source.pod_name",
        "destination.identity",
        "destination.namespace",
        "destination.pod_name",
        "Type",
        "node_name",
        "l7",
        "event_type",
        "source_service",
        "destination_service",
        "is_reply",
        "Summary",
    )
)
"""What every version of the CLI that sends a mask asks for."""


class Mask:
    """Applies a field mask to flows; raises ValueError for paths that flows do not have."""

    def __init__(self, mask: FieldMask) -> None:
        if not mask.IsValidForDescriptor(flow_pb2.Flow.DESCRIPTOR):  # type: ignore[arg-type]
            raise ValueError("invalid fieldmask")
        self._mask = None if not mask.paths or set(mask.paths) >= CLI_FIELDS else mask

    @property
    def everything(self) -> bool:
        """Whether whole flows are sent."""
        return self._mask is None

    def apply(self, flow: flow_pb2.Flow) -> flow_pb2.Flow:
        """The flow with the fields asked for; the flow itself when all are."""
        if self._mask is None:
            return flow
        masked = flow_pb2.Flow()
        self._mask.MergeMessage(flow, masked)
        return masked
