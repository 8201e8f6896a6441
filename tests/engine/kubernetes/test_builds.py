"""``KubernetesBuilder`` builds in pods, creates a missing builder, and removes what it created."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ohbuild.builders import AgentRuntimeBuildError, Category
from ohbuild.builders.kubernetes import KubernetesBuilder
from ohbuild.docker import nodes
from ohbuild.docker.connection import Connection
from ohbuild.engine.state import layout
from ohbuild.errors import NoEngine
from tests.engine.kubernetes.support import AMD64, ARM64, buildx, pushed
from tests.engine.kubernetes_api import Cluster, serve
from tests.engine.second import second_engine

# --- building


def test_a_build_runs_in_a_pod_and_is_pushed(
    cluster: Cluster, make: Callable[..., KubernetesBuilder], folder: Path, tag: str, client: Connection
) -> None:
    other = tag.replace(":1", ":2")
    with make() as builder:
        assert builder.image_exists(tag) is False
        assert cluster.calls == [], "no question to the cluster before it is needed"
        assert builder.build(path=str(folder), tags=[tag, other]) == tag
        assert builder.image_exists(tag, False), "there is no store to load into: the registry is asked in any case"
        assert builder.image_exists(other)
        (name,) = cluster.deployments()
        again = len(cluster.made("POST", "deployments"))
        builder.build(path=str(folder), tags=[tag])
        assert len(cluster.made("POST", "deployments")) == again == 1, "the pods are there already"

    assert cluster.objects == {}, "close() removes what was made"
    assert [str(call) for call in cluster.made("DELETE", "deployments")] == [f"DELETE deployments {name}"]
    assert nodes.describe(client, "k8s") is None
    pods = {call.name for call in cluster.made("EXEC", "pods")}
    assert pods == {f"{name}-pod-0"}
    command = {tuple(call.query["command"]) for call in cluster.made("EXEC", "pods")}
    assert command == {("buildctl", "dial-stdio")}
    assert {call.namespace for call in cluster.calls} == {"builds"}, "the namespace of the kubeconfig's context"
    kinds = {f"{call.verb} {call.kind}" for call in cluster.calls}
    assert kinds == {"GET deployments", "POST deployments", "DELETE deployments", "GET pods", "EXEC pods"}


def test_two_platforms_are_built_by_two_nodes(
    engine: Connection, docker_socket: Path, client: Connection, folder: Path, tag: str, tmp_path: Path
) -> None:
    """The steps of each platform run in its own Deployment. Two BuildKits serve as the two pods."""
    if engine.origin != "ohbuild":
        pytest.skip("a second BuildKit is made of the private engine's programs (OHBUILD_ENGINE=ohbuild)")
    with (
        second_engine(layout(), tmp_path / "second") as second,
        serve(docker_socket, tmp_path, {"linux/arm64": second}) as cluster,
    ):
        options = {"kubeconfig": tmp_path / "kubeconfig", "platforms": {"linux/amd64": {}, "linux/arm64": {}}}
        with KubernetesBuilder(builder="k8s", options=options, connect=lambda: client) as builder:
            builder.build(str(folder), [tag], platform="linux/amd64,linux/arm64")
            deployments = cluster.deployments()
            assert len(deployments) == 2
            selectors = {
                name: value["spec"]["template"]["spec"]["nodeSelector"]["kubernetes.io/arch"]
                for name, value in deployments.items()
            }
            assert sorted(selectors.values()) == ["amd64", "arm64"]
            exec_pods = {call.name.removesuffix("-pod-0") for call in cluster.made("EXEC", "pods")}
            assert exec_pods == set(deployments)
        steps = buildx(replace(client, host=f"unix://{second}"), "du", "--verbose")
        assert "COPY arm64 /architecture" in steps
        assert "COPY amd64" not in steps
        assert len(cluster.made("DELETE", "deployments")) == 2
    assert set(pushed(tag)) == {AMD64, ARM64}


def test_it_needs_no_engine(
    cluster: Cluster, client: Connection, folder: Path, tag: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A docker client with buildx is sufficient, as on a machine with a cluster but without Docker."""

    def nothing() -> Connection:
        raise NoEngine("there is none")

    variables = {**client.environment(), "DOCKER_HOST": f"unix://{tmp_path}/nobody.sock"}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "docker").symlink_to(client.docker)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    options = {"kubeconfig": tmp_path / "kubeconfig"}
    with KubernetesBuilder(builder="k8s", options=options, connect=nothing) as builder:
        assert builder.build(str(folder), [tag]) == tag
        assert builder.image_exists(tag)


# --- ownership of the builder


def test_a_builder_that_is_there_is_used_and_stays(
    cluster: Cluster,
    make: Callable[..., KubernetesBuilder],
    folder: Path,
    tag: str,
    client: Connection,
    tmp_path: Path,
) -> None:
    words = ["create", "--name=k8s", "--driver=kubernetes", "--node=by-hand", "--driver-opt=limits.memory=4Gi"]
    buildx(client, *words, KUBECONFIG=str(tmp_path / "kubeconfig"))
    with make(limits={"memory": "4Gi"}, timeout=120) as builder:
        builder.build(str(folder), [tag])
    with make(timeout=120) as builder:
        builder.build(str(folder), [tag])
    assert list(cluster.deployments()) == ["by-hand"]
    assert nodes.describe(client, "k8s") is not None
    with make(limits={"memory": "8Gi"}, timeout=120) as builder, pytest.raises(AgentRuntimeBuildError) as caught:
        builder.build(str(folder), [tag])
    assert caught.value.category is Category.CONTEXT
    assert "limits.memory is 4Gi, not 8Gi" in str(caught.value)
    with make(platforms={"linux/arm64": {}}, timeout=120) as builder, pytest.raises(AgentRuntimeBuildError) as caught:
        builder.build(str(folder), [tag])
    assert "without a node for linux/arm64" in str(caught.value)
    assert list(cluster.deployments()) == ["by-hand"]
    buildx(client, "rm", "k8s")


def test_many_at_once_make_one_builder(
    cluster: Cluster, make: Callable[..., KubernetesBuilder], folder: Path, tag: str
) -> None:
    """Four objects with the same name at the same time, as in four processes."""
    builders = [make() for _ in range(4)]
    done: list[str] = []
    threads = [
        threading.Thread(target=lambda n=number, b=builder: done.append(b.build(str(folder), [f"{tag}{n}"])))
        for number, builder in enumerate(builders)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done) == [f"{tag}{number}" for number in range(4)]
    assert len(cluster.made("POST", "deployments")) == 1
    made = [builder for builder in builders if builder._created]
    assert len(made) == 1
    for builder in builders:
        builder.close()
        builder.close()
    assert cluster.objects == {}


def test_pods_that_come_up_late_are_used(
    cluster: Cluster, make: Callable[..., KubernetesBuilder], folder: Path, tag: str
) -> None:
    """The next build tries again to start a builder that did not start."""
    cluster.ready = False
    with make(timeout=1) as builder:
        with pytest.raises(AgentRuntimeBuildError):
            builder.build(str(folder), [tag])
        cluster.ready = True
        assert builder.build(str(folder), [tag]) == tag
    assert len(cluster.made("POST", "deployments")) == 1
