"""What the API server refuses for good, and what has to be done so that it does not.

A refused connection mends itself; a missing rule of RBAC does not, and whoever looks at night has to read which one it
is. The server says who asked for what; what to allow, and where it is written, is added here.
"""

from __future__ import annotations

from daemon.sources.kubernetes.resources import Resource
from daemon.sources.kubernetes.wire import ApiError

UNAUTHORIZED, FORBIDDEN, NOT_FOUND = 401, 403, 404
LASTING = frozenset({FORBIDDEN, NOT_FOUND})
"""refusals that only somebody who changes the cluster or the settings ends"""


def told(resource: Resource, error: ApiError) -> str:
    """The server's words, and what to do about them."""
    return f"{error}{_advice(resource, error.code)}"


def _advice(resource: Resource, code: int) -> str:
    if code == FORBIDDEN:
        group = f'apiGroups: ["{resource.group}"], resources: [{resource.name}], verbs: [list, watch]'
        return f"; add to the agent's ClusterRole (deploy/kubernetes/base/rbac.yaml): {{{group}}}"
    if code == NOT_FOUND:
        return f"; no {resource.path} there: is `api_server` (or the kubeconfig's server) that of a Kubernetes API?"
    if code == UNAUTHORIZED:
        return "; the credentials are expired or another cluster's: renew them, they are read again at each attempt"
    return ""
