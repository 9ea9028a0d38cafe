"""Which flows a request selects: a quick look at columns, then the filters themselves on what is left."""

from __future__ import annotations

from collections.abc import Sequence

from daemon.flows.filters import compile_lists, prefilter_any
from daemon.flows.filters.prefilter import Mask
from daemon.flows.record import RowArray
from daemon.model import Directory
from daemon.proto import flow_pb2


class Selection:
    """The lists of a request, compiled; raises FilterError (a ValueError) for one that cannot be understood."""

    def __init__(
        self,
        whitelist: Sequence[flow_pb2.FlowFilter],
        blacklist: Sequence[flow_pb2.FlowFilter],
        directory: Directory,
    ) -> None:
        self.everything = not whitelist and not blacklist
        self._accepts = compile_lists(whitelist, blacklist)
        self._prefilter = prefilter_any(whitelist, directory)

    def mask(self, rows: RowArray) -> Mask:
        """(n,) bool: rows that may match; never leaves one out that does."""
        return self._prefilter(rows)

    def accepts(self, flow: flow_pb2.Flow) -> bool:
        """Whether the filters let a flow pass."""
        return self.everything or self._accepts(flow)
