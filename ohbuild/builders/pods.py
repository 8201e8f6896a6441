"""What the state of a Deployment and its pods means for a build. Pure: it reads objects of the Kubernetes API.

Fields and reasons: https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle and
https://kubernetes.io/docs/concepts/workloads/controllers/deployment/#deployment-status.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ohbuild.builders.errors import Category

Object = Mapping[str, Any]
"""An object of the API, as in JSON."""


@dataclass(frozen=True)
class Obstacle:
    """Why a pod does not start.

    Attributes:
        reason: The cluster's own reason.
        category: Kind of error.
        hint: How to fix it.
        final: Whether waiting is of no use.
    """

    reason: str
    category: Category
    hint: str
    final: bool


# Messages with which a cluster refuses to create a pod (Deployment condition ReplicaFailure), with what they mean. The
# first match counts. Another build may end and free a quota, and a cluster may get a machine, so those are not final.
_REFUSED: tuple[tuple[str, Category, str, bool], ...] = (
    ("violates PodSecurity", Category.PERMISSION,
     "use a namespace that admits these pods (label pod-security.kubernetes.io/enforce=privileged)", True),
    ("must specify", Category.CONTEXT, "the quota needs them: set limits={cpu=…, memory=…} and requests", True),
    ("exceeded quota", Category.RESOURCE, "reduce requests and limits, or increase the quota", False),
    ("service ?account .*not found", Category.CONTEXT, "create it, or set service_account to an existing one", True),
    ("denied the request|forbidden", Category.PERMISSION, "ask who runs the cluster, or change the options of the pods",
     True),
    ("is invalid", Category.CONTEXT, "correct the options of the pods", True),
)  # fmt: skip
_UNSCHEDULABLE = "add a machine, or change requests, node_selector, tolerations or platforms"
# Reasons of a container that waits, https://pkg.go.dev/k8s.io/kubernetes/pkg/kubelet/images#pkg-variables and the
# kubelet's kuberuntime.
_NO_IMAGE = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError")
_NOT_MADE = ("CreateContainerConfigError", "CreateContainerError", "RunContainerError")
_NO_ACCESS = re.compile("unauthorized|denied|forbidden|authentication required", re.IGNORECASE)
_NO_SUCH = re.compile("not found|manifest unknown|does not exist|no match for platform", re.IGNORECASE)


def obstacle(deployment: Object | None, pods: Sequence[Object]) -> Obstacle | None:
    """Returns why a Deployment has no pod that runs; ``None`` if nothing is known, so that waiting is right.

    Args:
        deployment: The Deployment; ``None`` if it does not exist.
        pods: Its pods.
    """
    found = [item for item in (_of_pod(pod) for pod in pods) if item]
    refused = _refused(deployment or {})
    found += [refused] if refused else []
    return next((item for item in found if item.final), found[0] if found else None)


def _refused(deployment: Object) -> Obstacle | None:
    for condition in _conditions(deployment):
        if (condition.get("type"), condition.get("status")) == ("ReplicaFailure", "True"):
            text = _line(condition.get("message") or condition.get("reason"))
            for pattern, category, hint, final in _REFUSED:
                if re.search(pattern, text, re.IGNORECASE):
                    return Obstacle(text, category, hint, final)
            return Obstacle(text, Category.RESOURCE, "see `kubectl describe replicasets`", final=False)
    return None


def _of_pod(pod: Object) -> Obstacle | None:
    for condition in _conditions(pod):
        if (condition.get("type"), condition.get("status")) == ("PodScheduled", "False"):
            text = _line(condition.get("message") or condition.get("reason"))
            return Obstacle(f"no machine for pod {_name(pod)}: {text}", Category.RESOURCE, _UNSCHEDULABLE, final=False)
    for container in _containers(pod):
        waiting = (container.get("state") or {}).get("waiting") or {}
        reason, text = str(waiting.get("reason") or ""), _line(waiting.get("message"))
        if reason in _NO_IMAGE:
            return _no_image(reason, text, str(container.get("image") or ""))
        if reason in _NOT_MADE:
            what = f"the container of pod {_name(pod)} cannot be created: {text or reason}"
            return Obstacle(what, Category.CONTEXT, "correct the options of the pods", final=True)
        if reason == "CrashLoopBackOff":
            ended = ((container.get("lastState") or {}).get("terminated")) or {}
            what = f"BuildKit in pod {_name(pod)} ends again and again: {_ended(ended) or text}"
            memory = ended.get("reason") == "OOMKilled"
            category = Category.RESOURCE if memory else Category.CONTEXT
            return Obstacle(what, category, f"see `kubectl logs {_name(pod)} --previous`", final=True)
    return None


def _no_image(reason: str, text: str, image: str) -> Obstacle:
    what = f"image {image} cannot be pulled: {text or reason}"
    if _NO_ACCESS.search(text):
        hint = "give the pods' service account a pull secret, or set image to another one"
        return Obstacle(what, Category.PERMISSION, hint, final=reason == "ImagePullBackOff")
    if reason == "InvalidImageName" or reason == "ErrImageNeverPull" or _NO_SUCH.search(text):
        return Obstacle(what, Category.CONTEXT, "set image to an existing one", final=True)
    return Obstacle(what, Category.NETWORK, "check that the cluster's machines reach its registry", final=False)


def ready(pods: Iterable[Object]) -> dict[str, Object]:
    """Returns the pods whose BuildKit runs, by their unique ID."""
    return {_uid(pod): pod for pod in pods if _phase(pod) == "Running" and not _gone(pod)}


def lost(before: Mapping[str, Object], now: Sequence[Object]) -> dict[str, str]:
    """Returns what became of the pods that ran before and do not run anymore, by their unique ID.

    Args:
        before: Pods that ran, by their unique ID, in the state in which they were seen last.
        now: All pods of the same Deployments.
    """
    there = {_uid(pod): pod for pod in now}
    return {
        uid: last_state(there.get(uid, pod), there=uid in there)
        for uid, pod in before.items()
        if uid not in there or _gone(there[uid]) or _restarts(there[uid]) > _restarts(pod)
    }


def last_state(pod: Object, *, there: bool = True) -> str:
    """Returns the state of a pod that does not build anymore, in one line.

    Args:
        pod: The pod as it was seen last.
        there: Whether it still exists.
    """
    status: Object = pod.get("status") or {}
    reason, text = str(status.get("reason") or ""), _line(status.get("message"))
    if reason or _phase(pod) in ("Failed", "Succeeded"):
        ended = next((word for word in map(_terminated, _containers(pod)) if word), "")
        return f"pod {_name(pod)}: {': '.join(word for word in (reason or _phase(pod), text or ended) if word)}"
    for container in _containers(pod):
        if word := _terminated(container):
            return f"BuildKit in pod {_name(pod)} ended: {word}"
    return f"pod {_name(pod)} was deleted" if not there or _deleted(pod) else f"pod {_name(pod)} was started again"


def _terminated(container: Object) -> str:
    for state in ("state", "lastState"):
        if word := _ended((container.get(state) or {}).get("terminated") or {}):
            return word
    return ""


def _ended(terminated: Object) -> str:
    """Returns reason, exit code and message of a container that ended; empty if it did not."""
    if not terminated:
        return ""
    words = [str(terminated.get("reason") or ""), f"exit code {terminated.get('exitCode', '?')}"]
    return ", ".join(word for word in (*words, _line(terminated.get("message"))) if word)


def _gone(pod: Object) -> bool:
    return _deleted(pod) or _phase(pod) in ("Failed", "Succeeded")


def _deleted(pod: Object) -> bool:
    return bool((pod.get("metadata") or {}).get("deletionTimestamp"))


def _restarts(pod: Object) -> int:
    return sum(int(container.get("restartCount") or 0) for container in _containers(pod))


def _phase(pod: Object) -> str:
    return str((pod.get("status") or {}).get("phase") or "")


def _containers(pod: Object) -> list[Object]:
    status: Object = pod.get("status") or {}
    return [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]


def _conditions(item: Object) -> list[Object]:
    return list((item.get("status") or {}).get("conditions") or ())


def _uid(pod: Object) -> str:
    metadata: Object = pod.get("metadata") or {}
    return str(metadata.get("uid") or metadata.get("name"))


def _name(pod: Object) -> str:
    return str((pod.get("metadata") or {}).get("name"))


def _line(text: object) -> str:
    """Returns a text in one line, without control characters."""
    return " ".join(str(text or "").split())[:400]
