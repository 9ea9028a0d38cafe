"""What a pod's manifest says about who it is: labels that tell it from others, and what created it.

Some labels name the single pod or its generation instead of its role. With them every pod would be a class of its
own, and every rollout would change who may talk to whom. Such labels are dropped.
"""

from __future__ import annotations

import re
from sys import intern

from daemon.model.objects import OwnerReference, Pod
from daemon.model.workload import Owner

NOISE = frozenset(
    {
        "apps.kubernetes.io/pod-index",
        "batch.kubernetes.io/controller-uid",
        "batch.kubernetes.io/job-completion-index",
        "batch.kubernetes.io/job-name",
        "controller-revision-hash",
        "controller-uid",
        "job-name",
        "pod-template-generation",
        "pod-template-hash",
        "statefulset.kubernetes.io/pod-name",
    }
)
_TEMPLATE_HASH = "pod-template-hash"
_REPLICA_SET = re.compile(r"(.+)-[bcdfghjklmnpqrstvwxz2456789]{5,10}")  # the alphabet of Kubernetes' generated names
_CRON_JOB = re.compile(r"(.+)-\d{8,10}")  # minutes since 1970, as the CronJob controller appends them


def identity_labels(pod: Pod) -> tuple[str, ...]:
    """Sorted `k8s:key=value` of the labels that count, and of the pod's namespace; equal ones are one string."""
    kept = {key: value for key, value in pod.labels.items() if key not in NOISE}
    kept["io.kubernetes.pod.namespace"] = pod.namespace
    return tuple(sorted(intern(f"k8s:{key}={value}") for key, value in kept.items()))


def owners(pod: Pod) -> tuple[Owner, ...]:
    """What a person would name as the pod's origin: the Deployment, not its ReplicaSet; the CronJob, not its Job."""
    references = pod.metadata.owner_references
    controllers = [reference for reference in references if reference.controller] or list(references[:1])
    return tuple(_origin(reference, pod.labels.get(_TEMPLATE_HASH, "")) for reference in controllers)


def _origin(reference: OwnerReference, template_hash: str) -> Owner:
    if reference.kind == "ReplicaSet":
        if template_hash and reference.name.endswith(f"-{template_hash}"):
            return Owner(reference.name.removesuffix(f"-{template_hash}"), "Deployment")
        if match := _REPLICA_SET.fullmatch(reference.name):
            return Owner(match[1], "Deployment")
    if reference.kind == "Job" and (match := _CRON_JOB.fullmatch(reference.name)):
        return Owner(match[1], "CronJob")
    return Owner(reference.name, reference.kind)
