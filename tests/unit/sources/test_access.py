"""How the API server is reached: what a kubeconfig says, and what the settings say instead."""

from __future__ import annotations

from pathlib import Path

import pytest

from daemon.sources.kubernetes.config import access
from ebpf.errors import RemoraError


def test_a_kubeconfig_that_is_missing_or_lies_is_named(tmp_path: Path) -> None:
    with pytest.raises(RemoraError, match="not found"):
        access(str(tmp_path / "none"), "")
    config = tmp_path / "config"
    config.write_text(
        """
apiVersion: v1
kind: Config
current-context: a
contexts: [{name: a, context: {cluster: c, user: u}}]
clusters: [{name: c, cluster: {server: "https://10.0.0.1:6443", certificate-authority: gone.crt}}]
users: [{name: u, user: {token: secret}}]
"""
    )
    with pytest.raises(RemoraError, match=r"gone\.crt"):
        access(str(config), "")


def test_the_address_of_the_settings_wins_over_that_of_the_kubeconfig(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text(
        """
current-context: a
contexts: [{name: a, context: {cluster: c, user: u}}]
clusters: [{name: c, cluster: {server: "https://10.96.0.1:443"}}]
users: [{name: u, user: {token: secret}}]
"""
    )
    assert access(str(config), "").server == "https://10.96.0.1:443"
    assert access(str(config), "https://192.0.2.10:6443").server == "https://192.0.2.10:6443"
