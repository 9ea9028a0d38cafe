"""Shields in a folder: read whole, or refused with the line at fault."""

from __future__ import annotations

import pytest

from daemon.model.shields import Malformed, Shield, ShieldMode, seconds
from daemon.sources.decode import read_manifest
from daemon.sources.manifest import ManifestError

HEAD = "apiVersion: remora.io/v1alpha1\nkind: Shield\nmetadata: {name: edge, namespace: ignored}\nspec:\n"


def read(spec: str) -> Shield:
    (located,) = read_manifest(HEAD + spec).objects
    assert isinstance(located.object, Shield)
    return located.object


def test_a_shield_is_cluster_wide_and_does_nothing_that_it_does_not_name() -> None:
    found = read("  deny: [{name: feed, file: feed.txt}]\n")
    assert (found.namespace, str(found.ref)) == ("", "Shield edge")
    spec = found.spec
    assert (spec.mode, spec.malformed, spec.syn_flood, spec.auto_ban) == (
        ShieldMode.ENFORCE,
        Malformed.PASS,
        None,
        None,
    )


def test_durations_are_seconds() -> None:
    found = read("  autoBan: {after: 5, within: 30s, for: 2h}\n  synFlood: {threshold: 100}\n").spec
    assert found.auto_ban is not None
    assert found.syn_flood is not None
    spans = found.auto_ban.within, found.auto_ban.for_, found.syn_flood.proven
    assert [seconds(one) for one in spans] == [30, 7200, 60]


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("  deny: [{name: a}]\n", r"spec.deny\[0\]: neither cidrs nor file"),
        ("  deny: [{name: a, cidrs: [10.0.0.1/8]}]\n", r"spec.deny\[0\].cidrs\[0\]: .* has host bits set"),
        ("  deny: [{name: a, cidrs: ['::ffff:10.0.0.1']}]\n", "write it as IPv4"),
        ("  deny: [{name: a, file: ../../etc/passwd}]\n", "file"),
        ("  deny: [{name: A b, cidrs: ['::/0']}]\n", "name"),
        ("  allow: [{name: a, cidrs: ['::/0']}]\n  deny: [{name: a, cidrs: ['::/0']}]\n", "is taken"),
        ("  allow: [{name: a, cidrs: ['::/0'], mode: DryRun}]\n", r"spec.allow\[0\].mode: there is no such field"),
        ("  mod: DryRun\n  deny: [{name: a, cidrs: ['::/0']}]\n", "Shield edge: spec.mod: there is no such field"),
        ("  deny: []\nallow: []\n", "Shield edge: allow: there is no such field"),
        ("  protect: ['fe80::1%eth0']\n", "leave out what follows the %"),
        ("  deny: [{name: a, cidrs: [10.0.0.0/255.0.0.0]}]\n", "write 10.0.0.0/8"),
        ("  deny: [{name: a, file: ../feed.txt}]\n", "Expected the plain name of a file in `shield_lists`"),
        ("  autoBan: {after: 1, within: 500ms}\n", "within: Expected a whole number of s, m or h, for example 30s"),
        ("  deny: [{name: protect, cidrs: ['::/0']}]\n", "is taken"),
        ("  protect: [here]\n", r"spec.protect\[0\]"),
        ("  limits: [{name: a}]\n", "neither packets nor bytes"),
        ("  limits: [{name: a, packets: {rate: 0}}]\n", "rate"),
        ("  limits: [{name: a, protocol: UDP, onlySyn: true, packets: {rate: 1}}]\n", "only TCP has SYNs"),
        ("  limits: [{name: a, protocol: ICMP, port: 1, packets: {rate: 1}}]\n", "ICMP has no ports"),
        ("  autoBan: {after: 1, within: soon}\n", "within"),
        ("  mode: Sometimes\n", "mode"),
    ],
)
def test_what_cannot_be_meant_is_refused(spec: str, words: str) -> None:
    with pytest.raises(ManifestError, match=words) as caught:
        read(spec)
    assert caught.value.line >= 5


@pytest.mark.parametrize("head", ["remora.io/v1\nkind: Shield", "remora.io/v1alpha1\nkind: shield"])
def test_an_object_of_ours_that_is_none_is_refused_and_not_passed_over(head: str) -> None:
    with pytest.raises(ManifestError, match=r"write apiVersion: remora\.io/v1alpha1 and kind: Shield"):
        read_manifest(f"apiVersion: {head}\nmetadata: {{name: edge}}\n")
