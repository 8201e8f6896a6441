"""Options of ``KubernetesBuilder`` in the cluster's objects, and the choice of the cluster."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ohbuild.builders import AgentRuntimeBuildError, Category
from ohbuild.builders.kubernetes import KubernetesBuilder
from ohbuild.docker import nodes
from ohbuild.docker.connection import Connection
from tests.engine.kubernetes.support import without_probes
from tests.engine.kubernetes_api import Cluster

# --- the objects


def test_every_option_arrives_in_the_deployment(
    cluster: Cluster, make: Callable[..., KubernetesBuilder], folder: Path, tag: str
) -> None:
    options: dict[str, Any] = {
        "namespace": "elsewhere",
        "image": "registry.example/buildkit:1",
        "replicas": 2,
        "requests": {"cpu": "500m", "memory": "1Gi", "ephemeral_storage": "10Gi"},
        "limits": {"cpu": 2, "memory": "4Gi", "ephemeral_storage": "20Gi"},
        "node_selector": {"example.com/pool": "builds", "disk": "fast"},
        "tolerations": [
            {"key": "builds", "value": "only", "effect": "NoSchedule"},
            {"key": "spot", "operator": "Exists", "effect": "NoExecute", "seconds": 60},
        ],
        "annotations": {"example.com/owner": "team a; room 5"},
        "labels": {"team": "a"},
        "service_account": "builder",
        "scheduler": "own",
        "qemu": True,
        "qemu_image": "registry.example/binfmt:1",
        "root_volume_memory": "2Gi",
        "env": {"JAEGER_TRACE": "host:1, and=more"},
        "load_balance": "random",
    }
    with make(**options) as builder:
        builder.build(str(folder), [tag])
        ((name, deployment),) = cluster.deployments().items()
    labels = {"app": name, "team": "a"}
    annotations = {"example.com/owner": "team a; room 5"}
    assert without_probes(deployment) == {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": labels, "annotations": annotations},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels, "annotations": annotations},
                "spec": {
                    "serviceAccountName": "builder",
                    "schedulerName": "own",
                    "nodeSelector": {"example.com/pool": "builds", "disk": "fast"},
                    "tolerations": [
                        {"key": "builds", "operator": "Equal", "value": "only", "effect": "NoSchedule"},
                        {"key": "spot", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 60},
                    ],
                    "initContainers": [
                        {
                            "name": "qemu",
                            "image": "registry.example/binfmt:1",
                            "args": ["--install", "all"],
                            "securityContext": {"privileged": True},
                        }
                    ],
                    "containers": [
                        {
                            "name": "buildkitd",
                            "image": "registry.example/buildkit:1",
                            "args": ["--allow-insecure-entitlement=network.host"],
                            "env": [{"name": "JAEGER_TRACE", "value": "host:1, and=more"}],
                            "resources": {
                                "requests": {"cpu": "500m", "memory": "1Gi", "ephemeral-storage": "10Gi"},
                                "limits": {"cpu": "2", "memory": "4Gi", "ephemeral-storage": "20Gi"},
                            },
                            "securityContext": {"privileged": True},
                            "volumeMounts": [{"name": "buildkit-memory", "mountPath": "/var/lib/buildkit"}],
                        }
                    ],
                    "volumes": [{"name": "buildkit-memory", "emptyDir": {"medium": "Memory", "sizeLimit": "2Gi"}}],
                },
            },
        },
    }
    assert {call.namespace for call in cluster.calls} == {"elsewhere"}


def test_rootless_pods_have_no_privileges(
    cluster: Cluster, make: Callable[..., KubernetesBuilder], folder: Path, tag: str
) -> None:
    with make(rootless=True) as builder:
        builder.build(str(folder), [tag])
        (deployment,) = cluster.deployments().values()
    template = deployment["spec"]["template"]
    (container,) = template["spec"]["containers"]
    assert container["securityContext"] == {"seccompProfile": {"type": "Unconfined"}}
    assert "--oci-worker-no-process-sandbox" in container["args"]
    assert container["image"] == "moby/buildkit:buildx-stable-1-rootless"
    assert "initContainers" not in template["spec"]
    assert "container.apparmor.security.beta.kubernetes.io/buildkitd" in template["metadata"]["annotations"]


@pytest.mark.parametrize("rootless", [False, True])
def test_buildkits_configuration_becomes_a_config_map(
    cluster: Cluster, make: Callable[..., KubernetesBuilder], folder: Path, tag: str, tmp_path: Path, rootless: bool
) -> None:
    """Rootless BuildKit does not read the folder where buildx mounts it, unless it is told."""
    config = tmp_path / "buildkitd.toml"
    config.write_text('[registry."registry.example:5000"]\n  http = true\n')
    with make(buildkitd_config=config, **({"rootless": True} if rootless else {})) as builder:
        builder.build(str(folder), [tag])
        (made,) = cluster.made("POST", "configmaps")
        (deployment,) = cluster.deployments().values()
    assert "registry.example:5000" in made.body["data"]["buildkitd.toml"]
    pod = deployment["spec"]["template"]["spec"]
    assert {"name": "config", "configMap": {"name": made.body["metadata"]["name"]}} in pod["volumes"]
    assert {"name": "config", "mountPath": "/etc/buildkit"} in pod["containers"][0]["volumeMounts"]
    assert ("--config=/etc/buildkit/buildkitd.toml" in pod["containers"][0].get("args", [])) == rootless
    assert len(cluster.made("DELETE", "configmaps")) == 1
    assert cluster.objects == {}


def test_a_kubeconfig_that_is_none(
    make: Callable[..., KubernetesBuilder], folder: Path, tag: str, tmp_path: Path
) -> None:
    empty = tmp_path / "empty"
    empty.write_text("{}")
    for file, words in ((tmp_path / "missing", "missing does not exist"), (empty, "could not be created")):
        with make(kubeconfig=file) as builder, pytest.raises(AgentRuntimeBuildError) as caught:
            builder.build(str(folder), [tag])
        assert caught.value.category is Category.CONTEXT, caught.value
        assert words in str(caught.value)


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="there is no kubectl")
def test_a_context_of_the_kubeconfig(
    cluster: Cluster, make: Callable[..., KubernetesBuilder], folder: Path, tag: str, client: Connection, tmp_path: Path
) -> None:
    config = tmp_path / "kubeconfig"
    config.write_text(config.read_text().replace('"current-context": "test"', '"current-context": "elsewhere"'))
    text = config.read_text()
    with make(context="test") as builder:
        builder.build(str(folder), [tag])
        (own,) = (nodes.store(client) / "ohbuild").glob("*")
        assert own.stat().st_mode & 0o777 == 0o600
    assert not own.exists()
    assert config.read_text() == text
    with make(context="tset") as builder, pytest.raises(AgentRuntimeBuildError) as caught:
        builder.build(str(folder), [tag])
    assert caught.value.category is Category.CONTEXT
    assert "perhaps you meant 'test'" in str(caught.value)


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="there is no kubectl")
def test_several_kubeconfigs(
    cluster: Cluster,
    make: Callable[..., KubernetesBuilder],
    folder: Path,
    tag: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """kubectl reads KUBECONFIG as a list, but buildx treats it as the name of one file."""
    config = json.loads((tmp_path / "kubeconfig").read_text())
    only = {"apiVersion": "v1", "kind": "Config"}
    (tmp_path / "users").write_text(json.dumps({**only, "users": config.pop("users")}))
    (tmp_path / "rest").write_text(json.dumps(config))
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path}/users:{tmp_path}/rest")
    with make(kubeconfig=None) as builder:
        assert builder.build(str(folder), [tag]) == tag
    assert {call.namespace for call in cluster.calls} == {"builds"}
