"""The connectivity test: does the running agent of this host steer, guard and watch, end to end?

It is a guest: short-lived namespaces on a bridge of their own, one manifest file beside the user's, and nothing else
that the agent does not make of them. Everything bears one name, so what a killed test left is found and removed by the
next one, and nothing else ever is.
"""

from daemon.connectivity.results import Outcome, Result
from daemon.connectivity.run import ConnectivityError, Target, run

__all__ = ["ConnectivityError", "Outcome", "Result", "Target", "run"]
