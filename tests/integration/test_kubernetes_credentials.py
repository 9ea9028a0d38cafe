"""An agent whose token or certificate at an API server with TLS is renewed: no restart, nothing moves in the kernel."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from tests.integration import shop as manifests
from tests.support.agent import agent_on
from tests.support.apiserver_process import Remote
from tests.support.certificates import Authority, Pair
from tests.support.netns import node
from tests.support.pinned import contents

VIP, OTHER_VIP = "10.96.0.60", "10.96.0.61"
FIRST, SECOND = "first-of-the-tokens", "second-of-the-tokens"
PLUGIN = "import pathlib, sys; print(pathlib.Path(sys.argv[1]).read_text())"


def test_a_token_that_is_over_and_renewed_moves_nothing_in_the_kernel(root: None, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(FIRST)
    with node() as made:
        api = Remote.start(made.popen, tmp_path, Authority(tmp_path / "pki"))
        path = str(api.kubeconfig(tmp_path, tokenFile=str(token)))
        api.tell(tokens=[FIRST])
        api.tell(put=[{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-1"}}])
        api.tell(put=[manifests.service("web", [VIP], 80, 80), manifests.endpoint_slice("web", ["10.9.0.1"], 80)])
        with agent_on(made, tmp_path, source="kubernetes", kubeconfig=path) as agent:
            agent.start()
            before = contents(agent.pins)
            assert (VIP, 80) in {place[:2] for place in before.services}
            api.tell(tokens=[SECOND])
            api.tell(cut=True)
            agent.until(lambda: "Unauthorized" in "".join(agent.status().get("warnings", [])))
            assert contents(agent.pins) == before
            token.write_text(SECOND)
            agent.until(lambda: agent.status()["health"] == "HEALTH_OK")
            assert contents(agent.pins) == before
            api.tell(put=[manifests.service("web", [OTHER_VIP], 80, 80)])
            agent.until(lambda: (OTHER_VIP, 80) in {place[:2] for place in contents(agent.pins).services})
            assert not any(one in agent.log for one in (FIRST, SECOND))


def plugin(folder: Path, pair: Pair) -> dict[str, Any]:
    """A kubeconfig's words for a plugin that prints this certificate, or the one of a later call."""
    version = "client.authentication.k8s.io/v1"
    status = {"clientCertificateData": pair.certificate.read_text(), "clientKeyData": pair.key.read_text()}
    told = {"apiVersion": version, "kind": "ExecCredential", "status": status}
    (folder / "new").write_text(json.dumps(told))
    (folder / "new").rename(folder / "credential")
    return {"apiVersion": version, "command": sys.executable, "args": ["-c", PLUGIN, str(folder / "credential")]}


def test_a_certificate_that_a_plugin_gives_is_renewed_without_a_restart(root: None, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "pki")
    with node() as made:
        api = Remote.start(made.popen, tmp_path, authority)
        path = str(api.kubeconfig(tmp_path, exec=plugin(tmp_path, authority.issue("first"))))
        api.tell(subjects=["first"])
        api.tell(put=[{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-1"}}])
        api.tell(put=[manifests.service("web", [VIP], 80, 80), manifests.endpoint_slice("web", ["10.9.0.1"], 80)])
        with agent_on(made, tmp_path, source="kubernetes", kubeconfig=path) as agent:
            agent.start()
            assert (VIP, 80) in {place[:2] for place in contents(agent.pins).services}
            plugin(tmp_path, authority.issue("second"))
            api.tell(subjects=["second"])
            api.tell(cut=True)
            api.tell(put=[manifests.service("web", [OTHER_VIP], 80, 80)])
            agent.until(lambda: (OTHER_VIP, 80) in {place[:2] for place in contents(agent.pins).services})
            agent.until(lambda: agent.status()["health"] == "HEALTH_OK")
            assert "PRIVATE KEY" not in agent.log
