"""The way to the API server: address, credentials, TLS.

An agent that replaces kube-proxy must not reach the API server through the ClusterIP that it is to serve itself. So
the address can be given, and then only the credentials come from the pod's service account or from a kubeconfig.

lightkube reads kubeconfigs and passes over what it does not know. What is said there of the way to the server is read
here in addition, and what would make the agent somebody else than its owner meant is refused.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import httpx2
import msgspec
import yaml
from lightkube.config.kubeconfig import KubeConfig, SingleConfig
from lightkube.core.exceptions import ConfigError

from daemon.sources.kubernetes import tls, wire
from daemon.sources.kubernetes.credentials import Plugin, credentials
from daemon.sources.kubernetes.transport import DIRECT, Transport, Way
from ebpf.errors import RemoraError

log = logging.getLogger(__name__)

CONNECT_TIMEOUT = 5.0  # s
PROXIES = ("http", "https")
_MALFORMED = (KeyError, ValueError, TypeError, AttributeError, msgspec.MsgspecError, yaml.YAMLError)
_REFUSED = ("as", "as-uid", "as-groups", "as-user-extra", "auth-provider")
"""of a user: without them the agent would be somebody else, or nobody"""


@dataclass(frozen=True, slots=True)
class Access:
    """Where the API server is, by which way, and with whose credentials it is asked."""

    server: str
    config: SingleConfig
    way: Way = DIRECT

    @property
    def peer(self) -> str:
        """What this node speaks to: the proxy where there is one, else the server."""
        return self.way.proxy or self.server

    def client(self, silence: float) -> httpx2.AsyncClient:
        """A client that takes `silence` seconds without a byte for a dead connection. Raises RemoraError."""
        who = credentials(self.config)
        return httpx2.AsyncClient(
            base_url=self.server,
            auth=who,
            headers={"Accept": "application/json", "User-Agent": "remora"},
            transport=Transport(self.config, self.way, who.pair if isinstance(who, Plugin) else _none),
            timeout=httpx2.Timeout(silence, connect=CONNECT_TIMEOUT),
        )


def access(kubeconfig: str, api_server: str) -> Access:
    """From a kubeconfig, or from the pod's service account where none is named. Raises RemoraError."""
    try:
        known = KubeConfig.from_file(kubeconfig) if kubeconfig else _surroundings()
        config = known.get()
        assert config is not None, "get() without a default raises"
        way = _way(config)
    except (ConfigError, OSError, *_MALFORMED) as error:
        what = f"no way to the API server: {f'{kubeconfig}: ' if kubeconfig else ''}{_why(error)}"
        raise RemoraError(what, hint="set kubeconfig, or run in a pod with a service account") from None
    return Access(api_server or config.cluster.server, _checked(config), way)


def _surroundings() -> KubeConfig:
    """The pod's service account, else $KUBECONFIG or ~/.kube/config."""
    return KubeConfig.from_env()


def _why(error: Exception) -> str:
    """Never with a piece of the file, which may be a piece of a secret."""
    if isinstance(error, yaml.MarkedYAMLError):
        return f"line {error.problem_mark.line + 1 if error.problem_mark else '?'}: {error.problem}"
    return str(error) if isinstance(error, ConfigError | OSError) else f"{type(error).__name__}: {error}"


def _way(config: SingleConfig) -> Way:
    """What lightkube passes over; raises RemoraError for what is refused."""
    if config.fname is None:
        return DIRECT
    told = yaml.safe_load(config.fname.read_text())
    for key in _REFUSED:
        if _named(told, "user", config.context.user).get(key):
            what = f"{config.fname}: `{key}` of user {config.context.user} is not supported"
            raise RemoraError(what, hint="use a token, a client certificate or a credential plugin (exec)")
    way = msgspec.convert(_named(told, "cluster", config.context.cluster), Way)
    if way.proxy and not _is_proxy(way.proxy):
        what = f"{config.fname}: `proxy-url` of cluster {config.context.cluster} is none that can be used"
        raise RemoraError(what, hint=f"{' or '.join(f'{one}://HOST:PORT' for one in PROXIES)}; socks5 is not supported")
    return way


def _named(told: dict[str, Any], what: str, name: str | None) -> dict[str, Any]:
    found: dict[str, Any] = next((one[what] for one in told.get(f"{what}s") or () if one["name"] == name), {})
    return wire.without_nulls(found)  # type: ignore[no-any-return]


def _is_proxy(url: str) -> bool:
    try:
        found = httpx2.URL(url)
    except httpx2.InvalidURL:
        return False
    return found.scheme in PROXIES and bool(found.host)


def _checked(config: SingleConfig) -> SingleConfig:
    cluster = config.cluster
    for path in tls.files(config):
        if not path.is_file():
            raise RemoraError(f"the kubeconfig names {path}, which is not there", hint="correct the path")
    if cluster.insecure and (cluster.certificate_auth or cluster.certificate_auth_data):
        what = "the kubeconfig names a certificate authority and says not to look at it (insecure-skip-tls-verify)"
        raise RemoraError(what, hint="leave one of them out")
    if cluster.insecure:
        log.warning("whoever answers at %s is believed to be the API server (insecure-skip-tls-verify)", cluster.server)
    return config


def _none() -> None:
    """No plugin gives a certificate."""
