"""The peer API: how aggregators learn which agents there are.

An agent knows of itself only, so the stream says that one has come, once, and stays open: aggregators take its end for
a fault and ask anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from daemon.proto import peer_pb2, peer_pb2_grpc

DOMAIN = "hubble-grpc.cilium.io"
"""What Hubble's certificates of nodes end in; aggregators verify it."""


def server_name(node: str, cluster: str) -> str:
    """The name on a node's certificate: dots of the parts become dashes."""
    return ".".join((node.replace(".", "-"), (cluster or "default").replace(".", "-"), DOMAIN))


class PeerService(peer_pb2_grpc.PeerServicer):
    """`peer.Peer` with this node as the only peer."""

    def __init__(self, own: peer_pb2.ChangeNotification) -> None:
        self._own = own

    async def Notify(self, request: peer_pb2.NotifyRequest, context: Any) -> AsyncIterator[peer_pb2.ChangeNotification]:
        yield self._own
        await asyncio.Event().wait()
