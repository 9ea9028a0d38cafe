"""How the agent is reached: from settings to listeners and to what aggregators are told."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import pytest

from daemon.agent.serving import listener, peer
from daemon.api import Listener
from daemon.settings import Settings, SettingsError
from daemon.settings_file import load

CERTIFICATE = {"tls_cert_file": "/tls/node.crt", "tls_key_file": "/tls/node.key"}


def test_without_an_address_aggregators_are_sent_to_the_socket() -> None:
    settings = Settings(node_name="n1")
    assert listener(settings) is None
    told = peer(settings, ())
    assert (told.name, told.address, told.HasField("tls")) == ("n1", "unix:///run/remora/remora.sock", False)


@pytest.mark.parametrize(
    ("address", "own", "told"),
    [
        (":4244", ["fd00::1", "192.0.2.9", "192.0.2.3"], "192.0.2.3:4244"),
        ("0.0.0.0:4300", ["fe80::1", "fd00::1"], "[fd00::1]:4300"),
        ("[::]:4244", [], "127.0.0.1:4244"),
        ("198.51.100.1:4244", ["192.0.2.3"], "198.51.100.1:4244"),
    ],
)
def test_aggregators_get_an_address_that_they_can_reach(address: str, own: list[str], told: str) -> None:
    settings = Settings(node_name="n1.lan", cluster_name="east", listen_address=address, **CERTIFICATE)
    made = peer(settings, map(ip_address, own))
    assert (made.name, made.address) == ("east/n1.lan", told)
    assert made.tls.server_name == "n1-lan.east.hubble-grpc.cilium.io"


def test_plain_text_tells_no_server_name() -> None:
    settings = Settings(listen_address=":4244", disable_tls=True)
    assert listener(settings) == Listener(":4244")
    assert not peer(settings, ()).HasField("tls")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("listen_address: ':4244'", "plain text"),
        ("tls_cert_file: /a", "only of use together"),
        ("tls_client_ca_files: [/a]", "needs tls_cert_file"),
        ("{listen_address: somewhere, disable_tls: true}", "no host:port"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=words):
        load(path)


def test_node_labels_are_known_and_can_be_added_to() -> None:
    labels = Settings(node_name="n1", node_labels={"rack": "7", "kubernetes.io/hostname": "other"}).labels
    assert {"rack=7", "kubernetes.io/os=linux", "kubernetes.io/hostname=other"} <= set(labels)
    assert list(labels) == sorted(labels)
