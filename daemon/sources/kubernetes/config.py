"""The way to the API server: address, credentials, TLS.

An agent that replaces kube-proxy must not reach the API server through the ClusterIP that it is to serve itself. So
the address can be given, and then only the credentials come from the pod's service account or from a kubeconfig.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path

import httpx2
from lightkube.config.client_adapter import user_auth, verify_cluster
from lightkube.config.kubeconfig import KubeConfig, SingleConfig
from lightkube.config.models import User
from lightkube.core.exceptions import ConfigError

from ebpf.errors import RemoraError

CONNECT_TIMEOUT = 5.0  # s
_KEEPALIVE = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 15),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 30_000),  # ms
)
"""A peer that is gone without a word is found out in half a minute."""


@dataclass(frozen=True, slots=True)
class Access:
    """Where the API server is and with whose credentials it is asked."""

    server: str
    config: SingleConfig

    def client(self, silence: float) -> httpx2.AsyncClient:
        """A client that takes `silence` seconds without a byte for a dead connection."""
        user = self.config.user or User()
        verify = verify_cluster(self.config.cluster, user, self.config.abs_file)
        return httpx2.AsyncClient(
            base_url=self.server,
            auth=user_auth(user),
            transport=httpx2.AsyncHTTPTransport(verify=verify, socket_options=_KEEPALIVE),
            timeout=httpx2.Timeout(silence, connect=CONNECT_TIMEOUT),
        )


def access(kubeconfig: str, api_server: str) -> Access:
    """From a kubeconfig, or from the pod's service account where none is named. Raises RemoraError."""
    try:
        known = KubeConfig.from_file(kubeconfig) if kubeconfig else _surroundings()
        config = known.get()
    except (ConfigError, KeyError, OSError, ValueError) as error:
        what = f"no way to the API server: {error}"
        raise RemoraError(what, hint="set kubeconfig, or run in a pod with a service account") from error
    assert config is not None, "get() without a default raises"
    return Access(api_server or config.cluster.server, _checked(config))


def _surroundings() -> KubeConfig:
    """The pod's service account, else $KUBECONFIG or ~/.kube/config."""
    return KubeConfig.from_env()


def _checked(config: SingleConfig) -> SingleConfig:
    for name in (config.cluster.certificate_auth, config.user.client_cert if config.user else None):
        if name and not Path(config.abs_file(name)).is_file():
            raise RemoraError(f"the kubeconfig names {name}, which is not there", hint="correct the path")
    return config
