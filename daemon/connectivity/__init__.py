"""The connectivity test: does a running agent steer, guard and watch, end to end?

It is a guest. On a host (`site`): short-lived namespaces on a bridge of their own and one manifest file beside the
user's. In a cluster (`cluster`): short-lived pods, Services and a policy in one namespace. The checks are the same.
Everything bears one name, so what a killed test left is found and removed by the next one, and nothing else ever is.
"""

from daemon.connectivity.results import Outcome, Result
from daemon.connectivity.run import ConnectivityError, Target, run, run_in_cluster

__all__ = ["ConnectivityError", "Outcome", "Result", "Target", "run", "run_in_cluster"]
