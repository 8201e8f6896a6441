"""Errors of ``KubernetesBuilder`` when a cluster refuses requests, does not respond, or is too slow."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from ohbuild.builders import AgentRuntimeBuildError, Category
from ohbuild.builders.kubernetes import KubernetesBuilder
from ohbuild.docker import nodes
from ohbuild.docker.connection import Connection
from tests.engine.kubernetes.support import FORBIDDEN, buildx, runs, wait_until
from tests.engine.kubernetes_api import TOKEN, Cluster


def test_a_builder_of_another_driver_is_refused(
    make: Callable[..., KubernetesBuilder], folder: Path, tag: str, client: Connection, tmp_path: Path, cluster: Cluster
) -> None:
    buildx(client, "create", "--name=k8s", "--driver=remote", f"unix://{tmp_path}/nobody.sock")
    with make() as builder, pytest.raises(AgentRuntimeBuildError) as caught:
        builder.build(str(folder), [tag])
    assert caught.value.category is Category.CONTEXT
    assert "with the remote driver, not kubernetes" in str(caught.value)
    assert cluster.calls == []
    assert nodes.describe(client, "k8s") is not None, "it is somebody else's"


# --- responses of the cluster


@pytest.mark.parametrize(
    ("refuse", "category", "words"),
    [
        ({"POST deployments": (403, FORBIDDEN)}, Category.PERMISSION, "is forbidden"),
        ({"GET deployments": (403, FORBIDDEN)}, Category.PERMISSION, "is forbidden"),
        ({"POST deployments": (403, f"{FORBIDDEN}: exceeded quota: small")}, Category.RESOURCE, "exceeded quota"),
        ({"POST deployments": (404, 'namespaces "builds" not found')}, Category.CONTEXT, "not found"),
        ({"POST deployments": (500, "the database is down")}, Category.NETWORK, "the database is down"),
    ],
    ids=["create", "get", "quota", "namespace", "broken"],
)
def test_a_refusal_is_told_and_leaves_nothing(
    cluster: Cluster,
    make: Callable[..., KubernetesBuilder],
    folder: Path,
    tag: str,
    client: Connection,
    refuse: dict[str, tuple[int, str]],
    category: Category,
    words: str,
) -> None:
    cluster.refuse = refuse
    with make() as builder, pytest.raises(AgentRuntimeBuildError) as caught:
        builder.build(str(folder), [tag])
    assert caught.value.category is category, caught.value
    assert words in caught.value.message
    assert caught.value.hint
    assert cluster.objects == {}
    assert nodes.describe(client, "k8s") is None


def test_exec_that_is_forbidden_is_told(
    cluster: Cluster, make: Callable[..., KubernetesBuilder], folder: Path, tag: str
) -> None:
    """The pods run but cannot be reached. buildx itself would only report that a deadline was exceeded."""
    cluster.refuse = {"EXEC pods": (403, FORBIDDEN)}
    with make() as builder, pytest.raises(AgentRuntimeBuildError) as caught:
        builder.build(str(folder), [tag])
    assert caught.value.category is Category.PERMISSION, caught.value
    assert "create pods/exec" in caught.value.hint
    assert cluster.objects == {}


def test_a_wrong_token_is_told(
    cluster: Cluster, make: Callable[..., KubernetesBuilder], folder: Path, tag: str, tmp_path: Path
) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text((tmp_path / "kubeconfig").read_text().replace(TOKEN, "another"))
    with make(kubeconfig=wrong) as builder, pytest.raises(AgentRuntimeBuildError) as caught:
        builder.build(str(folder), [tag])
    assert caught.value.category is Category.PERMISSION, caught.value


def test_pods_that_do_not_come_up_are_given_up(
    cluster: Cluster, make: Callable[..., KubernetesBuilder], folder: Path, tag: str, client: Connection
) -> None:
    cluster.ready = False
    started = time.monotonic()
    with make(timeout=1, replicas=2) as builder, pytest.raises(AgentRuntimeBuildError) as caught:
        builder.build(str(folder), [tag])
    assert time.monotonic() - started < 60, "the pods' own limit is two minutes"
    assert caught.value.category is Category.RESOURCE, caught.value
    assert "expected 2 replicas to be ready, got 0" in caught.value.message
    assert "kubectl describe pods -l app=k8s-" in caught.value.hint
    assert cluster.objects == {}, "pods that wait are not left waiting"
    assert nodes.describe(client, "k8s") is None


@pytest.mark.parametrize("how", ["timeout", "cancel", "close"])
def test_waiting_for_pods_can_be_stopped(
    cluster: Cluster, make: Callable[..., KubernetesBuilder], folder: Path, tag: str, how: str
) -> None:
    cluster.ready = False
    cancel = threading.Event()
    builder = make(timeout=100)
    stops = {"cancel": cancel.set, "close": builder.close}
    # A busy machine takes seconds until it creates a deployment.
    timer = threading.Timer(8, stops.get(how, lambda: None))
    timer.start()
    started = time.monotonic()
    with builder, pytest.raises(AgentRuntimeBuildError) as caught:
        builder.build(str(folder), [tag], cancel=cancel, timeout=8 if how == "timeout" else None)
    assert time.monotonic() - started < 80
    assert caught.value.category is (Category.RESOURCE if how == "timeout" else Category.CANCELLED), caught.value
    timer.join()
    assert cluster.made("POST", "deployments")
    assert cluster.objects == {}


def test_deployments_that_could_not_be_removed_are_told(
    cluster: Cluster, make: Callable[..., KubernetesBuilder], folder: Path, tag: str
) -> None:
    builder = make()
    builder.build(str(folder), [tag])
    cluster.refuse = {"DELETE deployments": (403, FORBIDDEN)}
    with pytest.raises(AgentRuntimeBuildError) as caught:
        builder.close()
    assert "could not be removed" in caught.value.message
    assert "forbidden" in caught.value.message
    (left,) = cluster.deployments()
    assert f"kubectl delete deployment {left}" in caught.value.hint
    assert caught.value.category is Category.PERMISSION


def test_a_cluster_that_does_not_answer_is_told(
    make: Callable[..., KubernetesBuilder], folder: Path, tag: str, client: Connection, tmp_path: Path, cluster: Cluster
) -> None:
    nobody = tmp_path / "nobody"
    config = json.loads((tmp_path / "kubeconfig").read_text())
    nobody.write_text(json.dumps({**config, "current-context": "elsewhere"}))
    with make(kubeconfig=nobody) as builder, pytest.raises(AgentRuntimeBuildError) as caught:
        builder.build(str(folder), [tag])
    assert caught.value.category is Category.NETWORK, caught.value
    assert "connection refused" in caught.value.message
    assert nodes.describe(client, "k8s") is None


@pytest.mark.parametrize("how", ["timeout", "cancel"])
def test_a_cluster_that_never_answers_is_not_waited_for(
    cluster: Cluster, make: Callable[..., KubernetesBuilder], folder: Path, tag: str, how: str
) -> None:
    cluster.answers.clear()
    cancel = threading.Event()
    threading.Timer(3, cancel.set if how == "cancel" else lambda: None).start()
    builder = make()
    started = time.monotonic()
    with pytest.raises(AgentRuntimeBuildError) as caught:
        builder.build(str(folder), [tag], cancel=cancel, timeout=5 if how == "timeout" else None)
    assert time.monotonic() - started < 15
    assert caught.value.category is (Category.RESOURCE if how == "timeout" else Category.CANCELLED), caught.value
    started = time.monotonic()
    assert not builder.image_exists(tag), "which needs no cluster"
    assert time.monotonic() - started < 5
    cluster.answers.set()
    builder.close()
    assert cluster.objects == {}


def test_kubectl_that_is_missing_is_told(
    make: Callable[..., KubernetesBuilder], folder: Path, tag: str, monkeypatch: pytest.MonkeyPatch, cluster: Cluster
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with make(context="test") as builder, pytest.raises(AgentRuntimeBuildError) as caught:
        builder.build(str(folder), [tag])
    assert caught.value.category is Category.CONTEXT
    assert "kubectl is missing" in caught.value.message


def test_a_failing_build_leaves_nothing(
    cluster: Cluster, make: Callable[..., KubernetesBuilder], folder: Path, tag: str
) -> None:
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY missing /\n")
    with make() as builder, pytest.raises(AgentRuntimeBuildError) as caught:
        builder.build(str(folder), [tag])
    assert caught.value.where == "Dockerfile:2"
    assert cluster.objects == {}


def test_a_cancelled_build_ends_in_its_pod(
    cluster: Cluster, make: Callable[..., KubernetesBuilder], folder: Path, tag: str, engine: Connection
) -> None:
    """buildx before 0.36 keeps waiting (driver/kubernetes/execconn) after the build, until it is killed 30 s later."""
    text = (folder / "Dockerfile").read_text()
    step = f"sleep 77.{uuid.uuid4().int}"
    (folder / "Dockerfile").write_text(f"FROM alpine:3.23\nRUN {step}\n")
    cancel = threading.Event()
    with make() as builder:
        caught: list[AgentRuntimeBuildError] = []

        def build() -> None:
            with pytest.raises(AgentRuntimeBuildError) as raised:
                builder.build(str(folder), [tag], cancel=cancel)
            caught.append(raised.value)

        thread = threading.Thread(target=build)
        thread.start()
        wait_until(lambda: runs(step), 30)
        cancel.set()
        wait_until(lambda: not runs(step), 10)
        thread.join(45)
        assert [error.category for error in caught] == [Category.CANCELLED]
        (folder / "Dockerfile").write_text(text)
        assert builder.build(str(folder), [tag]) == tag
