"""Who asks: the gRPC server that hands out flows and tells the state of the agent.

It speaks the observer API, so that the tools around Hubble work against this
agent, and `remora.v1.Agent` for what that API has no words for. It owns no
state: everything comes from the `AgentView` that it is given.
"""

import daemon.api.ciphers  # noqa: F401 - before gRPC is loaded
from daemon.api.events import EventLog
from daemon.api.server import ApiServer, SocketError
from daemon.api.tcp import Listener, TlsFiles
from daemon.api.view import AgentView

__all__ = ["AgentView", "ApiServer", "EventLog", "Listener", "SocketError", "TlsFiles"]
