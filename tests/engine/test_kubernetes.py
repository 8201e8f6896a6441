"""``KubernetesBuilder`` against buildx itself and an API server double with a real BuildKit behind it.

The double checks the token and keeps every object and call; buildx reaches BuildKit by ``exec``, as in a cluster. What
a cluster itself would say to these objects is not tested here, nor anywhere.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ohbuild.builders import AgentRuntimeBuildError, Category, nodes
from ohbuild.builders.kubernetes import KubernetesBuilder
from ohbuild.engine import Connection
from ohbuild.engine.state import layout
from ohbuild.errors import NoEngine
from ohbuild.model import ImageRef, Platform
from ohbuild.registry import Registry
from tests.engine.bridge import bridge
from tests.engine.kubernetes_api import TOKEN, Cluster, serve
from tests.engine.second import second_engine

AMD64, ARM64 = Platform.parse("linux/amd64"), Platform.parse("linux/arm64")
FORBIDDEN = 'deployments.apps is forbidden: User "tester" cannot do this in the namespace "builds"'


@pytest.fixture
def docker_socket(engine: Connection) -> Path:
    """The engine's socket."""
    host = engine.host or os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
    if not host.startswith("unix://") or engine.registry is None:
        pytest.skip("this needs an engine on a socket, with a registry (OHBUILD_ENGINE=ohbuild)")
    return Path(host.removeprefix("unix://"))


@pytest.fixture
def client(engine: Connection, docker_socket: Path, tmp_path: Path) -> Connection:
    """The engine with a client's folder of this test's own, so that its builders are nobody else's."""
    own = engine.config_dir or Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")
    folder = tmp_path / "docker"
    folder.mkdir()
    for name in ("cli-plugins", "config.json"):
        if (own / name).exists():
            (folder / name).symlink_to(own / name)
    return replace(engine, config_dir=folder, host=f"unix://{docker_socket}")


@pytest.fixture
def cluster(docker_socket: Path, tmp_path: Path) -> Iterator[Cluster]:
    """The double; ``tmp_path / "kubeconfig"`` leads to it."""
    with serve(docker_socket, tmp_path) as double:
        yield double


@pytest.fixture
def make(client: Connection, tmp_path: Path) -> Callable[..., KubernetesBuilder]:
    """Makes builders on the double."""

    def builder(builder: str = "k8s", **options: Any) -> KubernetesBuilder:
        given = {"kubeconfig": tmp_path / "kubeconfig", "timeout": 5, **options}
        return KubernetesBuilder(builder=builder, options=given, connect=lambda: client)

    return builder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A context that is built in no time, with other layers in each test and for each platform."""
    place = tmp_path / "context"
    place.mkdir()
    (place / "Dockerfile").write_text("FROM scratch\nARG TARGETARCH\nCOPY $TARGETARCH /architecture\n")
    for architecture in ("amd64", "arm64"):
        (place / architecture).write_text(f"{architecture} {uuid.uuid4()}\n")
    return place


@pytest.fixture
def tag(engine: Connection) -> Iterator[str]:
    """A name of this test's own in the engine's registry. (Docker's BuildKit keeps what it pushes: it goes again.)"""
    repository = f"{engine.registry}/test-kubernetes/{uuid.uuid4().hex[:12]}"
    yield f"{repository}:1"
    env = {**os.environ, **engine.environment()}
    docker = [str(engine.docker), "image"]
    kept = subprocess.run([*docker, "ls", "--quiet", repository], env=env, capture_output=True, text=True, check=True)
    for image in set(kept.stdout.split()):
        subprocess.run([*docker, "rm", "--force", image], env=env, capture_output=True, check=False)


def buildx(client: Connection, *words: str, **environment: str) -> str:
    """What a subcommand of buildx prints."""
    env = {**os.environ, **client.environment(), **environment}
    done = subprocess.run([str(client.docker), "buildx", *words], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def without_probes(deployment: dict[str, Any]) -> dict[str, Any]:
    """A Deployment without what differs between buildx's versions and is none of ours."""
    plain: dict[str, Any] = json.loads(json.dumps(deployment))
    for container in plain["spec"]["template"]["spec"]["containers"]:
        container.pop("readinessProbe", None)
        container.pop("livenessProbe", None)
    return plain


def pushed(reference: str) -> dict[Platform, int]:
    """The platforms that a registry has of an image, with their sizes."""
    with closing(Registry()) as registry:
        return dict(registry.resolve(ImageRef.parse(reference)).sizes)


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
    """Each platform's steps go to its own Deployment; two pods are played by two BuildKits."""
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
    """A docker client with buildx is enough, as on a machine that has a cluster and no Docker."""

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


def test_buildkits_configuration_becomes_a_config_map(
    cluster: Cluster, make: Callable[..., KubernetesBuilder], folder: Path, tag: str, tmp_path: Path
) -> None:
    config = tmp_path / "buildkitd.toml"
    config.write_text('[registry."registry.example:5000"]\n  http = true\n')
    with make(buildkitd_config=config) as builder:
        builder.build(str(folder), [tag])
        (made,) = cluster.made("POST", "configmaps")
        (deployment,) = cluster.deployments().values()
    assert "registry.example:5000" in made.body["data"]["buildkitd.toml"]
    pod = deployment["spec"]["template"]["spec"]
    assert pod["volumes"] == [{"name": "config", "configMap": {"name": made.body["metadata"]["name"]}}]
    assert pod["containers"][0]["volumeMounts"] == [{"name": "config", "mountPath": "/etc/buildkit"}]
    assert len(cluster.made("DELETE", "configmaps")) == 1
    assert cluster.objects == {}


# --- whose the builder is


def test_the_users_own_builder_and_context_stay(
    cluster: Cluster,
    make: Callable[..., KubernetesBuilder],
    folder: Path,
    tag: str,
    client: Connection,
    docker_socket: Path,
    tmp_path: Path,
) -> None:
    assert client.config_dir
    with bridge(docker_socket, tmp_path / "b.sock") as address:
        buildx(client, "create", "--name=mine", "--driver=remote", "--use", address)
        watched = [client.config_dir / "buildx" / name for name in ("current", "defaults", "instances/mine")]
        watched.append(client.config_dir / "config.json")

        def state() -> list[str]:
            files = [path for place in watched for path in ([place] if place.is_file() else sorted(place.rglob("*")))]
            return [f"{path} {path.read_text()}" for path in files if path.is_file()]

        before = state()
        assert any('"mine"' in text for text in before)
        with make() as builder:
            builder.build(str(folder), [tag])
            assert state() == before
        assert state() == before
        assert "Name:          mine" in buildx(client, "inspect")
        buildx(client, "rm", "mine")


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


def test_many_at_once_make_one_builder(
    cluster: Cluster, make: Callable[..., KubernetesBuilder], folder: Path, tag: str
) -> None:
    """Four objects, as four processes would have them, with the same name at the same time."""
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


# --- the cluster's answers


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
    """The pods run and cannot be reached: buildx itself would only say that a deadline was exceeded."""
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
    assert time.monotonic() - started < 15
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
    timer = threading.Timer(3, stops.get(how, lambda: None))
    timer.start()
    started = time.monotonic()
    with builder, pytest.raises(AgentRuntimeBuildError) as caught:
        builder.build(str(folder), [tag], cancel=cancel, timeout=3 if how == "timeout" else None)
    assert time.monotonic() - started < 10
    assert caught.value.category is (Category.RESOURCE if how == "timeout" else Category.CANCELLED), caught.value
    timer.join()
    assert cluster.made("POST", "deployments")
    assert cluster.objects == {}


def test_pods_that_come_up_late_are_used(
    cluster: Cluster, make: Callable[..., KubernetesBuilder], folder: Path, tag: str
) -> None:
    """A builder that did not come up is tried again by the next build."""
    cluster.ready = False
    with make(timeout=1) as builder:
        with pytest.raises(AgentRuntimeBuildError):
            builder.build(str(folder), [tag])
        cluster.ready = True
        assert builder.build(str(folder), [tag]) == tag
    assert len(cluster.made("POST", "deployments")) == 1


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


def test_a_kubeconfig_that_is_none(
    make: Callable[..., KubernetesBuilder], folder: Path, tag: str, tmp_path: Path
) -> None:
    empty = tmp_path / "empty"
    empty.write_text("{}")
    for file, words in ((tmp_path / "missing", "there is no kubeconfig"), (empty, "could not be made")):
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
    """KUBECONFIG is a list for kubectl, of which buildx makes one file's name."""
    config = json.loads((tmp_path / "kubeconfig").read_text())
    only = {"apiVersion": "v1", "kind": "Config"}
    (tmp_path / "users").write_text(json.dumps({**only, "users": config.pop("users")}))
    (tmp_path / "rest").write_text(json.dumps(config))
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path}/users:{tmp_path}/rest")
    with make(kubeconfig=None) as builder:
        assert builder.build(str(folder), [tag]) == tag
    assert {call.namespace for call in cluster.calls} == {"builds"}


def test_kubectl_that_is_missing_is_told(
    make: Callable[..., KubernetesBuilder], folder: Path, tag: str, monkeypatch: pytest.MonkeyPatch, cluster: Cluster
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with make(context="test") as builder, pytest.raises(AgentRuntimeBuildError) as caught:
        builder.build(str(folder), [tag])
    assert caught.value.category is Category.CONTEXT
    assert "needs kubectl, which is missing" in caught.value.message


def test_a_failing_step_is_told_as_by_any_builder(
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
    """buildx before 0.36 goes on to wait for nothing (driver/kubernetes/execconn) until it is killed, 30 s later."""
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
        _await(lambda: _runs(step), 30)
        cancel.set()
        _await(lambda: not _runs(step), 10)
        thread.join(45)
        assert [error.category for error in caught] == [Category.CANCELLED]
        (folder / "Dockerfile").write_text(text)
        assert builder.build(str(folder), [tag]) == tag


def _runs(step: str) -> bool:
    """Whether a step runs on this machine, where the double's BuildKit is."""
    number = step.split()[1].encode()
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has ended
            if number in command.read_bytes():
                return True
    return False


def _await(true: Callable[[], bool], seconds: float) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, f"not within {seconds} s"
        time.sleep(0.1)
