"""The connectivity test's pods in a cluster: made and removed through the API server, by the operator's own rights.

Everything is in one namespace of the test's own, and goes with it. Clients are asked through the API server's way to
pods, so the test runs wherever the API server and the agent can be reached, and needs neither a shell in a container
nor a way to the pods.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any

from daemon.connectivity import cluster_objects as objects
from daemon.connectivity.objects import BACKENDS, NAMESPACE, PODS, Plan
from daemon.connectivity.results import FailedError
from daemon.demo.signals import Rest
from daemon.sources.kubernetes.session import Object, Session
from daemon.sources.kubernetes.wire import ApiError
from ebpf.errors import RemoraError

AGENTS = "app.kubernetes.io/name=remora"  # as deploy/kubernetes/base/daemonset.yaml has it
PATIENCE = 90.0  # s for pods to be ready, and for the namespace to go
OVER = timedelta(minutes=10)  # after which a namespace is that of a test that was killed
_POLL = 0.2
_MISSING, _EXISTS = 404, 409
_CORE = f"/api/v1/namespaces/{NAMESPACE}"
_SLICES = f"/apis/discovery.k8s.io/v1/namespaces/{NAMESPACE}/endpointslices"
_POLICIES = f"/apis/networking.k8s.io/v1/namespaces/{NAMESPACE}/networkpolicies"


class ClusterError(RemoraError):
    """The test cannot be set up in this cluster."""


@dataclass
class ClusterSite:
    """A context manager: entering makes everything, leaving removes it. `image` "": that of the node's agent."""

    session: Session
    node: str
    image: str
    rest: Rest
    plan: Plan = field(init=False)

    def __enter__(self) -> ClusterSite:
        image, address = self.image or self._agents_image(), self._node_address()
        try:
            self._claim()
        except ApiError as error:
            raise _refused("make its namespace", error) from error
        try:
            self._fill(image, address)
        except ApiError as error:
            self._remove()
            raise _refused("make its objects", error) from error
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._remove()

    def ask(self, pod: str, *arguments: str) -> list[dict[str, Any]]:
        """What a client in a pod tells; raises FailedError where it cannot be asked, Interrupted."""
        self.rest.sleep(0)
        path = f"{_CORE}/pods/{pod}:{objects.ASKED_PORT}/proxy/ask"
        try:
            told: list[dict[str, Any]] = self.session.get_json(path, [("a", one) for one in arguments])
        except (ApiError, ValueError) as error:
            hint = "may this kubeconfig get pods/proxy, and does the API server reach pods?"
            raise FailedError(f"pod {pod} could not be asked: {error}", hint) from error
        return told

    def _agents_image(self) -> str:
        query = {"labelSelector": AGENTS, "fieldSelector": f"spec.nodeName={self.node}"}
        found = self._read("/api/v1/pods", query).get("items") or []
        images = [container["image"] for pod in found for container in pod["spec"]["containers"]]
        if not images:
            what = f"no pod of the agent ({AGENTS}) is on node {self.node}"
            raise ClusterError(what, "name an image of remora with --image")
        return str(images[0])

    def _node_address(self) -> str:
        found = self._read(f"/api/v1/nodes/{self.node}").get("status", {}).get("addresses") or []
        inside = [str(one["address"]) for one in found if one["type"] == "InternalIP"]
        if not inside:
            raise ClusterError(f"node {self.node} has no InternalIP", f"kubectl get node {self.node} -o yaml")
        return inside[0]

    def _read(self, path: str, query: dict[str, str] | None = None) -> Object:
        try:
            return self.session.get(path, query)
        except ApiError as error:
            raise _refused(f"read {path}", error) from error

    def _claim(self) -> None:
        """Make the namespace, in place of one that a killed test left; raises ClusterError while another is at work."""
        try:
            self.session.create("/api/v1/namespaces", objects.namespace())
            return
        except ApiError as error:
            if error.code != _EXISTS:
                raise
        meta = self.session.get(_CORE)["metadata"]
        if not objects.OWNER.items() <= meta.get("labels", {}).items():
            raise ClusterError(
                f"namespace {NAMESPACE} is not one of this test", "it is left alone; rename or remove it"
            )
        age = datetime.now(UTC) - datetime.fromisoformat(meta["creationTimestamp"])
        if age < OVER and "deletionTimestamp" not in meta:
            what = f"a connectivity test runs in this cluster, or was killed {age.total_seconds():.0f} s ago"
            raise ClusterError(what, f"wait until it ends; after a kill: kubectl delete namespace {NAMESPACE}")
        self._remove()
        self.session.create("/api/v1/namespaces", objects.namespace())

    def _fill(self, image: str, address: str) -> None:
        self._create(_POLICIES, objects.policy())
        made = {one["metadata"]["name"]: self._create(f"{_CORE}/services", one) for one in objects.services()}
        addresses = {name: sorted(one["spec"]["clusterIPs"], key=_family) for name, one in made.items()}
        for name in PODS:
            self._create(f"{_CORE}/pods", objects.pod(name, self.node, image, addresses["echo"][0]))
        pods: dict[str, list[str]] = {}
        self._until(lambda: self._missing(pods))
        self._until(self._missing_backends)
        node_port = int(made["echo"]["spec"]["ports"][0]["nodePort"])
        self.plan = Plan(self.node, pods, addresses, node_port, address)

    def _create(self, path: str, made: Object) -> Object:
        """Make an object; a fresh namespace has no service account for a moment, and no pod can be made in it."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                return self.session.create(path, made)
            except ApiError as error:
                if "serviceaccount" not in str(error) or time.monotonic() > deadline:
                    raise
            self.rest.sleep(_POLL)

    def _until(self, missing: Callable[[], str]) -> None:
        """Wait until nothing is missing; raises ClusterError with what is."""
        deadline = time.monotonic() + PATIENCE
        while found := missing():
            if time.monotonic() > deadline:
                raise ClusterError(f"after {PATIENCE:g} s: {found}", "is the node well, and can it pull the image?")
            self.rest.sleep(_POLL)

    def _missing(self, ready: dict[str, list[str]]) -> str:
        """Why pods are not ready; puts the addresses of those that are into `ready`."""
        waiting = []
        for pod in self.session.get(f"{_CORE}/pods").get("items") or []:
            name, status = pod["metadata"]["name"], pod.get("status", {})
            if any(one["type"] == "Ready" and one["status"] == "True" for one in status.get("conditions") or ()):
                ready[name] = [one["ip"] for one in status["podIPs"]]
            else:
                waiting.append(f"pod {name} is not ready ({_why(status)})")
        return ", ".join(waiting)

    def _missing_backends(self) -> str:
        """Services whose slices do not have all endpoints yet."""
        counts = dict.fromkeys(BACKENDS, 0)
        for one in self.session.get(_SLICES).get("items") or []:
            name, found = one["metadata"]["labels"]["kubernetes.io/service-name"], one.get("endpoints") or []
            ready = sum(bool(endpoint.get("conditions", {}).get("ready")) for endpoint in found)
            counts[name] = max(counts.get(name, 0), ready)
        less = [name for name, wanted in BACKENDS.items() if counts[name] < wanted]
        return f"EndpointSlices of {', '.join(less)} are not complete" if less else ""

    def _remove(self) -> None:
        """Remove the namespace with all that is in it, and wait until it is gone; raises ClusterError."""
        deadline = time.monotonic() + PATIENCE
        try:
            self.session.delete(_CORE)
            while time.monotonic() < deadline:
                self.session.get(_CORE)
                time.sleep(_POLL)
        except ApiError as error:
            if error.code == _MISSING:
                return
            what = f"namespace {NAMESPACE} could not be removed: {error}"
            raise ClusterError(what, f"kubectl delete namespace {NAMESPACE}") from error
        what = f"namespace {NAMESPACE} is still not gone after {PATIENCE:g} s"
        raise ClusterError(what, f"kubectl get namespace {NAMESPACE} -o yaml says why")


def _refused(what: str, error: ApiError) -> ClusterError:
    return ClusterError(f"the test cannot {what}: {error}", "docs/operate.md says which rights it needs")


def _family(address: str) -> bool:
    """IPv4 first."""
    return ":" in address


def _why(status: Object) -> str:
    """What the kubelet says of a pod that is not ready."""
    states = [one.get("state", {}) for one in status.get("containerStatuses") or ()]
    told = [detail.get("reason", "") for state in states for detail in state.values()]
    return ", ".join(filter(None, [status.get("phase", "not seen by its kubelet"), *told]))
