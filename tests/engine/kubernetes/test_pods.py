"""Pods that end while they build, and pods that do not start: within seconds, with the cluster's own reason."""

from __future__ import annotations

import shutil
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ohbuild.builders import AgentRuntimeBuildError, Category
from ohbuild.builders.kubernetes import KubernetesBuilder
from ohbuild.docker import nodes
from ohbuild.docker.connection import Connection
from tests.engine.kubernetes.support import buildx, runs, wait_until
from tests.engine.kubernetes_api import Cluster

# Seconds, with those of a busy machine. A loss is reported 30 s after it at most.
WITHIN = 45
EVICTED = {
    "phase": "Failed",
    "reason": "Evicted",
    "message": "Pod ephemeral local storage usage exceeds the total limit",
}
KILLED = {
    "phase": "Failed",
    "containerStatuses": [{"name": "k8s", "state": {"terminated": {"reason": "OOMKilled", "exitCode": 137}}}],
}


@pytest.fixture(autouse=True)
def kubectl() -> None:
    assert shutil.which("kubectl"), "install kubectl (Debian's package kubernetes-client)"


@pytest.fixture
def slow(folder: Path) -> str:
    """Makes the build take long, and returns the step that does."""
    step = f"sleep 77.{uuid.uuid4().int}"
    (folder / "Dockerfile").write_text(f"FROM alpine:3.23\nRUN {step}\n")
    return step


def lose(
    builder: KubernetesBuilder, folder: Path, tag: str, slow: str, end: Callable[[], None]
) -> AgentRuntimeBuildError:
    """Builds, ends the pod in the middle, and returns the error, which must come in time."""
    caught: list[AgentRuntimeBuildError] = []

    def build() -> None:
        with pytest.raises(AgentRuntimeBuildError) as raised:
            builder.build(str(folder), [tag])
        caught.append(raised.value)

    thread = threading.Thread(target=build)
    thread.start()
    wait_until(lambda: runs(slow), 60)
    time.sleep(4)  # so that the pods were seen
    end()
    thread.join(WITHIN)
    assert not thread.is_alive(), "the build does not end"
    return caught[0]


@pytest.mark.parametrize(
    ("state", "streams", "words", "hint"),
    [
        (None, "closed", "was deleted", "build again"),
        (None, "silent", "was deleted", "build again"),
        (EVICTED, "silent", "Evicted: Pod ephemeral local storage usage exceeds", "ephemeral_storage"),
        (KILLED, "closed", "OOMKilled, exit code 137", "limits.memory"),
    ],
    ids=["deleted", "deleted silently", "evicted", "killed"],
)
def test_a_build_ends_with_its_pod(
    cluster: Cluster,
    make: Callable[..., KubernetesBuilder],
    folder: Path,
    tag: str,
    slow: str,
    state: dict[str, Any] | None,
    streams: str,
    words: str,
    hint: str,
) -> None:
    text = "FROM scratch\nCOPY amd64 /\n"
    with make() as builder:
        error = lose(builder, folder, tag, slow, lambda: cluster.end_pods(state, streams=streams))
        assert error.category is Category.RESOURCE, error
        assert "has lost its builder: " in error.message
        assert words in error.message
        assert hint in error.hint
        (folder / "Dockerfile").write_text(text)
        assert builder.build(str(folder), [tag]) == tag, "the next one works"
    assert cluster.objects == {}


def test_a_build_ends_if_its_stream_breaks_before_its_pod(
    cluster: Cluster, make: Callable[..., KubernetesBuilder], folder: Path, tag: str, slow: str
) -> None:
    def end() -> None:
        cluster.end_streams("silent")
        time.sleep(5)
        cluster.end_pods()

    with make() as builder:
        error = lose(builder, folder, tag, slow, end)
    assert error.category is Category.RESOURCE, error
    assert "was deleted" in error.message


@pytest.mark.parametrize("streams", ["closed", "silent"])
def test_a_build_ends_with_its_connection(
    cluster: Cluster, make: Callable[..., KubernetesBuilder], folder: Path, tag: str, slow: str, streams: str
) -> None:
    """As after a restart of the API server. The pods run on, but the build has ended in them."""
    with make() as builder:
        error = lose(builder, folder, tag, slow, lambda: cluster.end_streams(streams))
    assert error.category is Category.RESOURCE, error
    assert "the connection to BuildKit ended" in error.message


def test_a_build_that_is_only_silent_goes_on(
    cluster: Cluster, make: Callable[..., KubernetesBuilder], folder: Path, tag: str
) -> None:
    (folder / "Dockerfile").write_text(f"FROM alpine:3.23\nRUN sleep 25.{uuid.uuid4().int % 1000}\n")
    with make() as builder:
        assert builder.build(str(folder), [tag]) == tag


def test_a_builder_whose_deployment_is_gone_is_made_again(
    cluster: Cluster, make: Callable[..., KubernetesBuilder], folder: Path, tag: str, slow: str
) -> None:
    def end() -> None:
        cluster.objects.clear()
        cluster.end_pods()

    text = "FROM scratch\nCOPY amd64 /\n"
    with make() as builder:
        error = lose(builder, folder, tag, slow, end)
        assert error.category is Category.RESOURCE, error
        (folder / "Dockerfile").write_text(text)
        assert builder.build(str(folder), [tag]) == tag
        assert len(cluster.made("POST", "deployments")) == 2
    assert cluster.objects == {}


def test_the_loss_of_a_pod_that_does_not_build_ends_nothing(
    cluster: Cluster, make: Callable[..., KubernetesBuilder], folder: Path, tag: str
) -> None:
    """Steps that report something go on, even if a pod of the builder has ended."""
    (folder / "Dockerfile").write_text("FROM alpine:3.23\nRUN for i in $(seq 20); do echo $i; sleep 1; done\n")
    with make(replicas=2) as builder:
        timer = threading.Timer(8, lambda: setattr(cluster, "generation", 1))
        timer.start()
        assert builder.build(str(folder), [tag], extra_build_args=["--no-cache"]) == tag
        timer.join()


NO_MACHINE = "0/3 nodes are available: no arm64"
UNSCHEDULABLE = {
    "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": NO_MACHINE}]
}
REFUSED = 'pods "k8s" is forbidden: '


def image(reason: str, message: str) -> dict[str, Any]:
    state = {"waiting": {"reason": reason, "message": message}}
    return {"containerStatuses": [{"name": "k8s", "image": "example/buildkit:gone", "state": state}]}


@pytest.mark.parametrize(
    ("waiting", "not_created", "category", "words", "hint"),
    [
        ({}, f'{REFUSED}violates PodSecurity "baseline:latest": privileged', Category.PERMISSION,
         "violates PodSecurity", "enforce=privileged"),
        ({}, f"{REFUSED}failed quota: small: must specify limits.cpu", Category.CONTEXT,
         "must specify limits.cpu", "limits="),
        ({}, f'{REFUSED}error looking up service account builds/nobody: serviceaccount "nobody" not found',
         Category.CONTEXT, 'serviceaccount "nobody" not found', "service_account"),
        (image("ImagePullBackOff", "manifest unknown"), "", Category.CONTEXT, "example/buildkit:gone", "image"),
        (image("ImagePullBackOff", "pull access denied"), "", Category.PERMISSION, "access denied", "pull secret"),
    ],
    ids=["pod security", "limits", "account", "image", "access"],
)  # fmt: skip
def test_what_is_final_is_not_waited_for(
    cluster: Cluster,
    make: Callable[..., KubernetesBuilder],
    folder: Path,
    tag: str,
    waiting: dict[str, Any],
    not_created: str,
    category: Category,
    words: str,
    hint: str,
) -> None:
    cluster.ready, cluster.waiting, cluster.not_created = False, waiting, not_created
    started = time.monotonic()
    with make(timeout=120) as builder, pytest.raises(AgentRuntimeBuildError) as caught:
        builder.build(str(folder), [tag])
    assert time.monotonic() - started < WITHIN
    assert caught.value.category is category, caught.value
    assert words in caught.value.message
    assert hint in caught.value.hint
    assert cluster.objects == {}


@pytest.mark.parametrize(
    ("waiting", "not_created", "words"),
    [
        (UNSCHEDULABLE, "", NO_MACHINE),
        ({}, f"{REFUSED}exceeded quota: small, requested: cpu=4", "exceeded quota: small"),
    ],
    ids=["no machine", "quota"],
)
def test_what_may_pass_is_waited_for_and_told(
    cluster: Cluster,
    make: Callable[..., KubernetesBuilder],
    folder: Path,
    tag: str,
    waiting: dict[str, Any],
    not_created: str,
    words: str,
) -> None:
    cluster.ready, cluster.waiting, cluster.not_created = False, waiting, not_created
    with make(timeout=2) as builder, pytest.raises(AgentRuntimeBuildError) as caught:
        builder.build(str(folder), [tag])
    assert caught.value.category is Category.RESOURCE, caught.value
    assert words in caught.value.message


def test_a_node_that_the_build_does_not_need_is_not_waited_for(
    cluster: Cluster, make: Callable[..., KubernetesBuilder], folder: Path, tag: str
) -> None:
    cluster.without, cluster.waiting = "arm64", UNSCHEDULABLE
    started = time.monotonic()
    with make(timeout=120, platforms={"linux/amd64": {}, "linux/arm64": {}}) as builder:
        assert builder.build(str(folder), [tag], "linux/amd64") == tag
        assert time.monotonic() - started < WITHIN
        with pytest.raises(AgentRuntimeBuildError, match=NO_MACHINE) as caught:
            builder.build(str(folder), [tag], "linux/arm64", timeout=15)
        assert caught.value.category is Category.RESOURCE


def test_pods_of_an_earlier_build_that_are_gone(
    cluster: Cluster, make: Callable[..., KubernetesBuilder], folder: Path, tag: str
) -> None:
    """buildx starts new ones in the build, as a step of its own. It is none of the Dockerfile's."""
    with make(timeout=2) as builder:
        builder.build(str(folder), [tag])
        cluster.ready, cluster.waiting = False, UNSCHEDULABLE
        with pytest.raises(AgentRuntimeBuildError, match=NO_MACHINE) as caught:
            builder.build(str(folder), [tag])
        assert caught.value.category is Category.RESOURCE
        assert not caught.value.step
        cluster.ready = True
        assert builder.build(str(folder), [tag]) == tag


def test_one_replica_is_enough(
    cluster: Cluster, make: Callable[..., KubernetesBuilder], folder: Path, tag: str
) -> None:
    cluster.room, cluster.waiting = 1, UNSCHEDULABLE
    started = time.monotonic()
    with make(timeout=120, replicas=2) as builder:
        assert builder.build(str(folder), [tag]) == tag
    assert time.monotonic() - started < WITHIN


def test_a_builder_of_another_is_named_as_it_is(
    cluster: Cluster, make: Callable[..., KubernetesBuilder], folder: Path, tag: str, client: Connection, tmp_path: Path
) -> None:
    """Its Deployment has the name that its maker chose."""
    cluster.ready = False
    buildx(client, "create", "--name=k8s", "--driver=kubernetes", "--node=theirs", "--driver-opt=timeout=5s",
           KUBECONFIG=str(tmp_path / "kubeconfig"))  # fmt: skip
    with make() as builder, pytest.raises(AgentRuntimeBuildError) as caught:
        builder.build(str(folder), [tag])
    assert "app=theirs" in caught.value.hint


def test_a_builder_is_not_removed_under_another_ones_build(
    cluster: Cluster, make: Callable[..., KubernetesBuilder], folder: Path, tag: str, client: Connection
) -> None:
    """Its maker closes first; the last user removes it."""
    maker, user = make(), make()
    maker.build(str(folder), [tag])
    user.build(str(folder), [tag])
    maker.close()
    assert cluster.deployments()
    assert user.build(str(folder), [tag]) == tag
    user.close()
    assert cluster.objects == {}
    assert nodes.describe(client, "k8s") is None
