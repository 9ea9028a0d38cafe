"""The API server as source: lists and watches, decoded straight into the model's small structs.

Configuration and authentication are lightkube's, transport is httpx2's (`config`); what is asked for stands in
`resources`; `reflector` keeps one kind up to date through every way in which a watch can end; `cache` holds what is
known; `source` puts it together to snapshots. The client library's own models are not used: they cost kilobytes an
object.
"""

from daemon.sources.kubernetes.source import KubernetesSource

__all__ = ["KubernetesSource"]
