"""What the state of a Deployment and its pods means for a build. The messages are those of Kubernetes 1.36."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ohbuild.builders import pods
from ohbuild.builders.errors import Category
from ohbuild.builders.kubernetes import hint_for

POD_SECURITY = (
    'pods "k8s0-6d4c" is forbidden: violates PodSecurity "baseline:latest": privileged (container "k8s0" must not set '
    "securityContext.privileged=true)"
)
QUOTA = 'pods "k8s0-6d4c" is forbidden: exceeded quota: small, requested: cpu=4, used: cpu=1, limited: cpu=2'
NO_LIMITS = 'pods "k8s0-6d4c" is forbidden: failed quota: small: must specify limits.cpu for: k8s0'
NO_ACCOUNT = (
    'pods "k8s0-6d4c" is forbidden: error looking up service account builds/nobody: serviceaccount "nobody" not found'
)
WEBHOOK = 'admission webhook "validate.kyverno.svc" denied the request: no privileged pods'


def deployment(message: str) -> dict[str, Any]:
    condition = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": message}
    return {"status": {"conditions": [{"type": "Progressing", "status": "True"}, condition]}}


def pod(name: str = "k8s0-1", phase: str = "Running", **status: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "uid": f"uid of {name}"}, "status": {"phase": phase, **status}}


def container(state: dict[str, Any], **more: Any) -> list[dict[str, Any]]:
    return [{"name": "k8s0", "image": "moby/buildkit:gone", "state": state, **more}]


def waiting(reason: str, message: str = "", **more: Any) -> dict[str, Any]:
    state = {"waiting": {"reason": reason, "message": message}}
    return pod(phase="Pending", containerStatuses=container(state, **more))


@pytest.mark.parametrize(
    ("message", "category", "final", "hint"),
    [
        (POD_SECURITY, Category.PERMISSION, True, "pod-security.kubernetes.io/enforce=privileged"),
        (QUOTA, Category.RESOURCE, False, "increase the quota"),
        (NO_LIMITS, Category.CONTEXT, True, "limits={cpu=…, memory=…}"),
        (NO_ACCOUNT, Category.CONTEXT, True, "service_account"),
        (WEBHOOK, Category.PERMISSION, True, "who runs the cluster"),
        ("Deployment is invalid: spec.x: Invalid value", Category.CONTEXT, True, "options"),
        ("something new", Category.RESOURCE, False, "kubectl describe replicasets"),
    ],
    ids=["pod security", "quota", "limits", "account", "webhook", "invalid", "unknown"],
)
def test_a_pod_that_is_not_created(message: str, category: Category, final: bool, hint: str) -> None:
    found = pods.obstacle(deployment(message), [])
    assert found is not None
    assert (found.reason, found.category, found.final) == (message, category, final)
    assert hint in found.hint


UNSCHEDULABLE = {
    "type": "PodScheduled",
    "status": "False",
    "reason": "Unschedulable",
    "message": "0/3 nodes are available",
}
CRASHED = {"terminated": {"reason": "Error", "exitCode": 1, "message": "newuidmap: not found"}}
KILLED = {"terminated": {"reason": "OOMKilled", "exitCode": 137}}


@pytest.mark.parametrize(
    ("item", "category", "final", "words"),
    [
        (pod(phase="Pending", conditions=[UNSCHEDULABLE]), Category.RESOURCE, False, "0/3 nodes are available"),
        (waiting("ErrImagePull", "dial tcp: i/o timeout"), Category.NETWORK, False, "moby/buildkit:gone"),
        (waiting("ImagePullBackOff", "manifest unknown"), Category.CONTEXT, True, "manifest unknown"),
        (waiting("ImagePullBackOff", "pull access denied"), Category.PERMISSION, True, "denied"),
        (waiting("InvalidImageName"), Category.CONTEXT, True, "InvalidImageName"),
        (waiting("CreateContainerConfigError", 'configmap "x" not found'), Category.CONTEXT, True, 'configmap "x"'),
        (waiting("CrashLoopBackOff", lastState=CRASHED), Category.CONTEXT, True, "exit code 1, newuidmap: not found"),
        (waiting("CrashLoopBackOff", lastState=KILLED), Category.RESOURCE, True, "OOMKilled, exit code 137"),
    ],
    ids=["no machine", "registry", "no image", "no access", "name", "config", "crash", "memory"],
)
def test_a_pod_that_does_not_start(item: dict[str, Any], category: Category, final: bool, words: str) -> None:
    found = pods.obstacle({}, [item])
    assert found is not None
    assert (found.category, found.final) == (category, final)
    assert words in found.reason


@pytest.mark.parametrize(
    "item", [pod(phase="Pending"), waiting("ContainerCreating"), waiting("PodInitializing"), pod()]
)
def test_a_pod_that_only_takes_its_time(item: dict[str, Any]) -> None:
    assert pods.obstacle({"status": {}}, [item]) is None
    assert pods.obstacle(None, []) is None


def test_what_is_final_comes_first() -> None:
    wait = pod(phase="Pending", conditions=[UNSCHEDULABLE])
    found = pods.obstacle(deployment(POD_SECURITY), [wait])
    assert found is not None
    assert found.reason == POD_SECURITY


EVICTED = "The node was low on resource: ephemeral-storage. Threshold quantity: 1Gi"


def deleted(item: dict[str, Any]) -> dict[str, Any]:
    return {**item, "metadata": {**item["metadata"], "deletionTimestamp": "2026-01-01T00:00:00Z"}}


@pytest.mark.parametrize(
    ("now", "words", "hint"),
    [
        ([], "pod k8s0-1 was deleted", "build again"),
        ([deleted(pod())], "pod k8s0-1 was deleted", "build again"),
        ([pod("k8s0-2")], "pod k8s0-1 was deleted", "build again"),
        (
            [pod(phase="Failed", reason="Evicted", message=EVICTED)],
            f"pod k8s0-1: Evicted: {EVICTED}",
            "ephemeral_storage",
        ),
        (
            [pod(phase="Failed", containerStatuses=container(KILLED))],
            "Failed: OOMKilled, exit code 137",
            "limits.memory",
        ),
        ([pod(containerStatuses=container({"running": {}}, restartCount=1, lastState=KILLED))], "OOMKilled", "memory"),
        ([pod(containerStatuses=container({"running": {}}, restartCount=1))], "was started again", "build again"),
    ],
    ids=["gone", "going", "replaced", "evicted", "failed", "restarted", "restarted without a state"],
)
def test_a_pod_that_is_lost(now: list[dict[str, Any]], words: str, hint: str) -> None:
    before = pods.ready([pod()])
    (found,) = pods.lost(before, now).values()
    assert words in found
    assert hint in hint_for(found)


def test_a_pod_that_goes_on_is_not_lost() -> None:
    before = pods.ready([pod(), pod("k8s0-2"), pod("k8s0-3", phase="Pending"), deleted(pod("k8s0-4"))])
    assert len(before) == 2
    assert pods.lost(before, [pod(), pod("k8s0-2"), pod("k8s0-5")]) == {}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8), lambda inner: st.lists(inner, max_size=3)
)
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "metadata": st.fixed_dictionaries(
            {}, optional={"name": st.text(), "uid": st.text(), "deletionTimestamp": st.text()}
        ),
        "status": st.none()
        | st.fixed_dictionaries(
            {},
            optional={
                "phase": st.sampled_from(["Running", "Pending", "Failed", "Unknown"]),
                "reason": st.none() | st.text(),
                "message": st.none() | st.text(),
                "conditions": st.none()
                | st.lists(
                    st.fixed_dictionaries({}, optional={"type": st.text(), "status": st.text(), "message": JSON})
                ),
                "containerStatuses": st.none()
                | st.lists(
                    st.fixed_dictionaries(
                        {},
                        optional={
                            "state": st.none() | st.just({}) | st.just(KILLED) | st.just({"waiting": None}),
                            "restartCount": st.none() | st.integers(0, 9),
                        },
                    ),
                    max_size=2,
                ),
            },
        ),
    },
)


@given(st.lists(FIELDS, max_size=3), st.lists(FIELDS, max_size=3), FIELDS)
def test_any_fields_may_be_missing(before: list[Any], now: list[Any], item: Any) -> None:
    pods.obstacle(item, now)
    for text in pods.lost(pods.ready(before), now).values():
        assert text == " ".join(text.split())
