"""The way to the API server: address, credentials, TLS.

An agent that replaces kube-proxy must not reach the API server through the ClusterIP that it is to serve itself. So
the address can be given, and then only the credentials come from the pod's service account or from a kubeconfig.
"""

from __future__ import annotations

from dataclasses import dataclass

import httpx2
import msgspec
import yaml
from lightkube.config.kubeconfig import KubeConfig, SingleConfig
from lightkube.core.exceptions import ConfigError

from daemon.sources.kubernetes.credentials import credentials
from daemon.sources.kubernetes.transport import Transport, certificates
from ebpf.errors import RemoraError

CONNECT_TIMEOUT = 5.0  # s
_MALFORMED = (KeyError, ValueError, TypeError, AttributeError, msgspec.MsgspecError, yaml.YAMLError)


@dataclass(frozen=True, slots=True)
class Access:
    """Where the API server is and with whose credentials it is asked."""

    server: str
    config: SingleConfig

    def client(self, silence: float) -> httpx2.AsyncClient:
        """A client that takes `silence` seconds without a byte for a dead connection. Raises RemoraError."""
        return httpx2.AsyncClient(
            base_url=self.server,
            auth=credentials(self.config),
            transport=Transport(self.config),
            timeout=httpx2.Timeout(silence, connect=CONNECT_TIMEOUT),
        )


def access(kubeconfig: str, api_server: str) -> Access:
    """From a kubeconfig, or from the pod's service account where none is named. Raises RemoraError."""
    try:
        known = KubeConfig.from_file(kubeconfig) if kubeconfig else _surroundings()
        config = known.get()
    except (ConfigError, OSError, *_MALFORMED) as error:
        why = str(error) if isinstance(error, ConfigError | OSError) else f"{type(error).__name__}: {error}"
        what = f"no way to the API server: {f'{kubeconfig}: ' if kubeconfig else ''}{why}"
        raise RemoraError(what, hint="set kubeconfig, or run in a pod with a service account") from error
    assert config is not None, "get() without a default raises"
    return Access(api_server or config.cluster.server, _checked(config))


def _surroundings() -> KubeConfig:
    """The pod's service account, else $KUBECONFIG or ~/.kube/config."""
    return KubeConfig.from_env()


def _checked(config: SingleConfig) -> SingleConfig:
    for path in certificates(config):
        if not path.is_file():
            raise RemoraError(f"the kubeconfig names {path}, which is not there", hint="correct the path")
    return config
