"""Which pods are left to the per-packet path."""

from __future__ import annotations

import pytest

from daemon.endpoints import Rule
from daemon.model.objects import Annotations, ObjectMeta, Pod, PodSpec

RULE = Rule(("gvisor*", "kata*"), ("mesh", "sidecar=true"))


@pytest.mark.parametrize(
    ("runtime", "labels", "annotation", "expected"),
    [
        ("", {}, "", False),
        ("kata-qemu", {}, "", True),
        ("runc", {}, "", False),
        ("", {"mesh": "no"}, "", True),
        ("", {"sidecar": "true"}, "", True),
        ("", {"sidecar": "false"}, "", False),
        ("gvisor", {}, "socket", False),
        ("", {}, "packet", True),
        ("kata", {}, "anything", True),
    ],
)
def test_the_annotation_decides_before_runtime_class_and_labels(
    runtime: str, labels: dict[str, str], annotation: str, expected: bool
) -> None:
    meta = ObjectMeta("one", "shop", labels, annotations=Annotations(service_path=annotation))
    assert RULE.applies(Pod(meta, PodSpec(runtime_class_name=runtime))) is expected
