"""Settings files: a mistake is named by its line, and what strangers can write is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from daemon.agent.reload import taken_over
from daemon.cli.main import run
from daemon.settings import Settings, SettingsError
from daemon.settings_file import load, parse


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("node_name: a\nservices: many\n", "file:2: services: Expected `int`, got `str`"),
        ("\n\nmetrics_adress: ''\n", "file:3: .*unknown field `metrics_adress`; did you mean metrics_address"),
        ("services: 0\n", "file:1: services: Expected `int` >= 1"),
        ("a: [1\n", "file:2: no YAML"),
        ("source: cloud\n", "file:1: source: Invalid enum value 'cloud'; write one of 'folder', 'kubernetes'"),
        ("xdp: off\n", "file:1: xdp: Expected `str`, got `bool`; write one of 'off', 'auto', 'native', 'generic'"),
        ("xdp_devices: {eth0: fast}\n", "file:1: .*; write one of 'off', 'auto'"),
        ("zone: a\nservices: 99999999999\n", "file:2: services: Expected `int` <="),
        ("zone: a\nxdp: auto\nzone: b\n", "file:3: zone stands here a second time"),
        ("node_labels:\n  a: x\n  a: y\n", "file:3: a stands here a second time"),
        ("zone: a\nmetrics_address: 9965\n", "file:2: metrics_address: Expected `str`"),
        ("zone: a\nmetrics_address: nowhere\n", "file:2: metrics_address: 'nowhere' is no host:port"),
        ("healthz_address: 127.0.0.1:99999\n", "file:1: healthz_address: '127.0.0.1:99999' is no host:port"),
        ("zone: a\nproxymode_address: '::1:80'\n", "file:2: proxymode_address: '::1:80' is no host:port"),
        ("zone: a\nlisten_address: :4244\n", "file:2: listen_address: would serve every flow .* plain text"),
        ("zone: a\ntls_key_file: /k\n", "file:2: tls_key_file: .* only of use together; set both"),
        ("zone: a\ntls_client_ca_files: [/c]\n", "file:2: tls_client_ca_files: needs tls_cert_file"),
        ("zone: a\nsnat_ports: 5-2\n", "file:2: snat_ports: 5-2 is no range of ports; write 10000-29999"),
        ("zone: a\nnodeport_addresses: [10.0.0.0/33]\n", "file:2: nodeport_addresses: .*10.0.0.0/33"),
        ("zone: a\napi_server: 192.0.2.10:6443\n", "file:2: api_server: .*; write https://host:6443"),
        ("zone: a\nbpffs: pins\n", "file:2: bpffs: 'pins' is no absolute path; begin it with /"),
    ],
)
def test_a_mistake_is_named_by_its_line(text: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        parse(text, "file")


def test_an_empty_file_means_the_defaults() -> None:
    assert parse("", "file") == parse("# nothing\n", "file") == Settings()


def test_addresses_in_all_their_forms_are_taken() -> None:
    for server in ("https://10.0.0.1:6443", "https://[fd00::1]:6443/", "https://rancher.example/k8s/clusters/c-1"):
        assert parse(f"api_server: {server}\n", "file").api_server == server
    for address in (":9965", "0.0.0.0:9965", "'[::1]:9965'", "localhost:9965", "'[fe80::1%eth0]:9965'"):
        assert parse(f"metrics_address: {address}\n", "file").metrics_address == address.strip("'")


@pytest.mark.parametrize("what", ["file", "folder"])
def test_settings_that_everybody_may_write_are_refused(tmp_path: Path, what: str) -> None:
    folder = tmp_path / "etc"
    folder.mkdir(mode=0o755)
    path = folder / "config.yaml"
    path.write_text("node_name: a\n")
    assert load(path).node == "a"
    (path if what == "file" else folder).chmod(0o777)
    with pytest.raises(SettingsError, match="everybody may write"):
        load(path)


def test_the_check_says_yes_or_names_the_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("flow_capacity: 1000\n")
    assert run(["config", "check", str(path)]) == 0
    assert capsys.readouterr().out == f"{path}: no mistakes\n"
    path.write_text("flow_capacity: 1000\nzone: [1]\n")
    assert run(["config", "check", str(path)]) == 1
    assert f"{path}:2: zone: Expected `str`, got `array`" in capsys.readouterr().err
    path.write_text("zone: a\nmetrics: [drops]\n")
    assert run(["config", "check", str(path)]) == 1
    assert f"{path}:2: metrics: 'drops'" in capsys.readouterr().err


def test_a_reload_takes_what_it_can_and_says_what_needs_a_restart(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    before = Settings(zone="a", services=10)
    after = taken_over(before, Settings(zone="b", services=20))
    assert (after.zone, after.services) == ("b", 10)
    assert "setting zone is now b" in caplog.text
    assert "setting services changed: it takes a restart" in caplog.text


def test_the_environment_names_the_node_where_many_nodes_share_their_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("node_name: a\n")
    monkeypatch.setenv("REMORA_NODE_NAME", "node-7")
    assert load(path).node == "node-7"
    monkeypatch.setenv("REMORA_NODE_NAME", "")
    assert load(path).node == "a"


def test_manifests_and_credentials_that_everybody_may_write_are_refused(tmp_path: Path) -> None:
    for setting in ("manifests", "kubeconfig"):
        open_to_all = tmp_path / setting
        open_to_all.mkdir()
        path = tmp_path / "config.yaml"
        path.write_text(f"{setting}: {open_to_all}\n")
        assert load(path)
        open_to_all.chmod(0o777)
        with pytest.raises(SettingsError, match=f"{setting} .*everybody may write"):
            load(path)


def test_settings_in_a_volume_as_the_kubelet_makes_it_are_read(tmp_path: Path) -> None:
    """The volume's folder may be written by everybody; what is mounted cannot, and the file is in a folder below."""
    version = tmp_path / "..2026_01_01"
    version.mkdir(0o755)
    (version / "config.yaml").write_text("source: kubernetes\n")
    (version / "config.yaml").chmod(0o440)
    (tmp_path / "..data").symlink_to(version.name)
    (tmp_path / "config.yaml").symlink_to("..data/config.yaml")
    tmp_path.chmod(0o777)
    assert load(tmp_path / "config.yaml").source == "kubernetes"
