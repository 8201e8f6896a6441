"""Decodes what client-go sends to an API server: Kubernetes objects in protocol buffers, converted to JSON form.

It supports only the messages that buildx's ``kubernetes`` driver sends, with all fields that it sets. A field that is
not in the table is an error, so that no part of an object can be overlooked.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

MAGIC = b"k8s\x00"

# message: number name type. `*` is repeated, `{}` is a map with string keys, `+` is inlined in JSON.
# Source: generated.proto of k8s.io/api (apps/v1, core/v1) and k8s.io/apimachinery (meta/v1, runtime) 0.32.
_SCHEMA = """
Unknown: 1 typeMeta TypeMeta, 2 raw bytes, 3 contentEncoding str, 4 contentType str
TypeMeta: 1 apiVersion str, 2 kind str
ObjectMeta: 1 name str, 2 generateName str, 3 namespace str, 4 selfLink str, 5 uid str, 6 resourceVersion str,
  7 generation int, 8 creationTimestamp Time, 11 labels {}str, 12 annotations {}str
Time: 1 seconds int, 2 nanos int
Deployment: 1 metadata ObjectMeta, 2 spec DeploymentSpec, 3 status DeploymentStatus
DeploymentStatus: 1 observedGeneration int, 2 replicas int, 3 updatedReplicas int, 4 availableReplicas int,
  5 unavailableReplicas int, 7 readyReplicas int
DeploymentSpec: 1 replicas int, 2 selector LabelSelector, 3 template PodTemplateSpec, 4 strategy DeploymentStrategy,
  5 minReadySeconds int, 7 paused int
DeploymentStrategy: 1 type str
LabelSelector: 1 matchLabels {}str
PodTemplateSpec: 1 metadata ObjectMeta, 2 spec PodSpec
PodSpec: 1 volumes *Volume, 2 containers *Container, 3 restartPolicy str, 6 dnsPolicy str, 7 nodeSelector {}str,
  8 serviceAccountName str, 9 serviceAccount str, 10 nodeName str, 11 hostNetwork int, 12 hostPID int, 13 hostIPC int,
  16 hostname str, 17 subdomain str, 19 schedulerName str, 20 initContainers *Container, 22 tolerations *Toleration,
  24 priorityClassName str
Container: 1 name str, 2 image str, 3 command *str, 4 args *str, 5 workingDir str, 7 env *EnvVar,
  8 resources ResourceRequirements, 9 volumeMounts *VolumeMount, 10 livenessProbe Probe, 11 readinessProbe Probe,
  13 terminationMessagePath str, 14 imagePullPolicy str, 15 securityContext SecurityContext, 16 stdin int,
  17 stdinOnce int, 18 tty int, 20 terminationMessagePolicy str
EnvVar: 1 name str, 2 value str
ResourceRequirements: 1 limits {}Quantity, 2 requests {}Quantity
Quantity: 1 string str
VolumeMount: 1 name str, 2 readOnly int, 3 mountPath str, 4 subPath str, 6 subPathExpr str
Volume: 1 name str, 2 volumeSource +VolumeSource
VolumeSource: 2 emptyDir EmptyDirVolumeSource, 19 configMap ConfigMapVolumeSource
EmptyDirVolumeSource: 1 medium str, 2 sizeLimit Quantity
ConfigMapVolumeSource: 1 localObjectReference +LocalObjectReference
LocalObjectReference: 1 name str
Probe: 1 handler +ProbeHandler, 2 initialDelaySeconds int, 3 timeoutSeconds int, 4 periodSeconds int,
  5 successThreshold int, 6 failureThreshold int
ProbeHandler: 1 exec ExecAction
ExecAction: 1 command *str
SecurityContext: 2 privileged bool, 4 runAsUser int, 8 runAsGroup int, 11 seccompProfile SeccompProfile
SeccompProfile: 1 type str
Toleration: 1 key str, 2 operator str, 3 value str, 4 effect str, 5 tolerationSeconds int
ConfigMap: 1 metadata ObjectMeta, 2 data {}str
DeleteOptions: 1 gracePeriodSeconds int, 4 propagationPolicy str
"""


def _schema() -> dict[str, dict[int, tuple[str, str]]]:
    messages: dict[str, dict[int, tuple[str, str]]] = {}
    for line in _SCHEMA.replace("\n  ", " ").strip().splitlines():
        message, _, fields = line.partition(": ")
        split = (field.split() for field in fields.split(", "))
        messages[message] = {int(number): (name, kind) for number, name, kind in split}
    return messages


_MESSAGES = _schema()


def decode(body: bytes) -> dict[str, Any]:
    """Decodes an object to its JSON form, without empty and zero values.

    Raises:
        ValueError: It is not an object, or has a field that is not in the table.
    """
    if not body.startswith(MAGIC):
        raise ValueError(f"not Kubernetes' protocol buffers: {body[:20]!r}")
    unknown = _message("Unknown", body[len(MAGIC) :])
    kind = unknown["typeMeta"]["kind"]
    return {**unknown["typeMeta"], **_message(kind, unknown.get("raw", b""))}


def _message(message: str, data: bytes) -> dict[str, Any]:
    fields = _MESSAGES[message]
    result: dict[str, Any] = {}
    for number, value in _wire(data):
        if number not in fields:
            raise ValueError(f"{message} has a field {number}, which the table does not know")
        name, kind = fields[number]
        if kind.startswith("{}"):
            pair = dict(_wire(value))
            result.setdefault(name, {})[pair[1].decode()] = _value(kind[2:], pair.get(2, b""))
        elif kind.startswith("*"):
            result.setdefault(name, []).append(_value(kind[1:], value))
        elif kind.startswith("+"):
            result |= _value(kind[1:], value)
        else:
            result[name] = _value(kind, value)
    return {name: value for name, value in result.items() if value not in ("", 0, b"", {}, [])}


def _value(kind: str, value: Any) -> Any:
    if kind in ("int", "bytes"):
        return value
    if kind == "bool":
        return bool(value)
    if kind == "str":
        return value.decode()
    message = _message(kind, value)
    return message.get("string", "0") if kind == "Quantity" else message


def _wire(data: bytes) -> Iterator[tuple[int, Any]]:
    """Yields the numbers and values of a message's fields: an int for a varint, bytes for a value with a length."""
    position = 0

    def varint() -> int:
        nonlocal position
        number = shift = 0
        while True:
            byte = data[position]
            position += 1
            number |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                return number

    while position < len(data):
        key = varint()
        if key & 7 == 0:
            yield key >> 3, varint()
        elif key & 7 == 2:
            length = varint()
            yield key >> 3, data[position : position + length]
            position += length
        else:
            raise ValueError(f"wire type {key & 7} is not used by Kubernetes")
