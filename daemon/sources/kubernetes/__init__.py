"""The API server as source: lists and watches, decoded straight into the model's small structs.

The configuration is read by lightkube and the transport is httpx2's (`config`); who asks, over which connections and by
which certificates is said by `credentials`, `transport` and `tls`; what is asked for stands in `resources`; `reflector`
keeps one kind up to date through every way in which a watch can end, and `refusals` knows what to do about what is not
allowed; `cache` holds what is known; `source` puts it together to snapshots. The client library's own models are not
used: they cost kilobytes an object.
"""

from daemon.sources.kubernetes.source import KubernetesSource

__all__ = ["KubernetesSource"]
