"""How BuildKit is to run in a Kubernetes cluster: checked here, before anything is asked of the cluster.

Source of the options' names: buildx 0.29.1, driver/kubernetes/factory.go (``processDriverOpts``); of the rules for
names and quantities: Kubernetes' apimachinery (``util/validation``, ``api/resource``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from ohbuild.config.validation import checked
from ohbuild.errors import OhbuildError, nearest
from ohbuild.images.platform import Platform, parse_platforms
from ohbuild.images.reference import ImageRef

ARCHITECTURE_LABEL = "kubernetes.io/arch"
_LABEL_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")
_DNS_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(m|k|[MGTPE]|[KMGTPE]i|[eE][+-]?[0-9]{1,2})?")
_FACTORS = {
    "m": Decimal("0.001"),
    **{suffix: Decimal(1000) ** power for power, suffix in enumerate("kMGTPE", 1)},
    **{f"{suffix}i": Decimal(1024) ** power for power, suffix in enumerate("KMGTPE", 1)},
}
# buildx sets these itself and takes no others.
_RESERVED = {"labels": "app", "annotations": "buildx.docker.com/platform"}


def amount(quantity: str) -> Decimal:
    """A quantity as a number: of bytes, or of processors.

    Raises:
        ValueError: it is none (Kubernetes' grammar, ``500m``, ``2``, ``1.5Gi``).
    """
    match = _QUANTITY.fullmatch(quantity)
    if match is None:
        suffix = quantity.lstrip("0123456789.")
        meant = next((known for known in _FACTORS if known.lower() == suffix.removesuffix("B").lower()), "")
        hint = f"perhaps you meant {quantity.removesuffix(suffix) + meant!r}" if meant else "write 2, 500m or 4Gi"
        raise ValueError(f"{quantity!r} is not a quantity ({hint})")
    number, suffix = Decimal(match[1]), match[2] or ""
    power = suffix[1:] if suffix[:1] in ("e", "E") else ""
    return number.scaleb(int(power)) if power else number * _FACTORS.get(suffix, 1)


def _cpu(text: str) -> str:
    number = amount(text) if text else Decimal(1)
    if not Decimal("0.001") <= number <= 10_000:
        raise ValueError(f"{text!r} is no number of processors (write 2, or 500m for half of one)")
    return text


def _bytes(text: str) -> str:
    if text and amount(text) < 1_000_000:
        raise ValueError(f"{text!r} is less than a megabyte (write 4Gi, 500Mi; a small m means thousandths)")
    return text


def _namespace(text: str) -> str:
    if text and not _DNS_LABEL.fullmatch(text):
        raise ValueError(f"{text!r} is not a namespace (small letters, digits and '-', at most 63)")
    return text


def _dns_path(text: str) -> str:
    if text and (len(text) > 253 or not all(_DNS_LABEL.fullmatch(part) for part in text.split("."))):
        raise ValueError(f"{text!r} is not a name in Kubernetes (small letters, digits, '-' and '.', at most 253)")
    return text


def _label_value(text: str) -> str:
    if text and not _LABEL_NAME.fullmatch(text):
        raise ValueError(f"{text!r} is not a value of a label (letters, digits, '-', '_' and '.', at most 63)")
    return text


def _key(text: str) -> str:
    prefix, slash, name = text.rpartition("/")
    if not _LABEL_NAME.fullmatch(name) or (slash and not prefix):
        raise ValueError(f"{text!r} is not a key (write name, or example.com/name)")
    _dns_path(prefix)
    return text


def _annotation(text: str) -> str:
    if re.search(r'[,="\x00-\x1f]', text):
        raise ValueError(f"{text!r} cannot be passed on by buildx (no ',', '=', '\"', no new lines)")
    return text


def _image(text: str) -> str:
    return text and str(checked(lambda: ImageRef.parse(text)))


Cpu = Annotated[str, AfterValidator(_cpu)]
Bytes = Annotated[str, AfterValidator(_bytes)]
Key = Annotated[str, AfterValidator(_key)]
LabelValue = Annotated[str, AfterValidator(_label_value)]
AnnotationValue = Annotated[str, AfterValidator(_annotation)]
Image = Annotated[str, AfterValidator(_image)]
ObjectName = Annotated[str, AfterValidator(_dns_path)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)

    @model_validator(mode="before")
    @classmethod
    def _known(cls, data: Any) -> Any:
        for name in data if isinstance(data, Mapping) else ():
            if name not in cls.model_fields:
                raise ValueError(f"unknown option {name!r} ({nearest(str(name), list(cls.model_fields))})")
        return data

    @model_serializer(mode="wrap")
    def _said(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """What was said, and none of the many things that were not."""
        return {name: value for name, value in handler(self).items() if name in self.model_fields_set}


class Resources(_Model):
    """What a pod asks for, or may use at most: quantities as Kubernetes writes them; empty for none."""

    cpu: Cpu = ""
    memory: Bytes = ""
    ephemeral_storage: Bytes = ""

    def driver_options(self, prefix: str) -> dict[str, str]:
        """``requests.cpu=…`` and so on."""
        return {f"{prefix}.{name.replace('_', '-')}": value for name, value in self}


class Toleration(_Model):
    """A taint of nodes that the pods tolerate (https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/).

    Args:
        key: empty tolerates every taint, with ``Exists``.
        seconds: how long a pod stays on a node that gets such a taint; only with ``NoExecute``.
    """

    key: Annotated[str, AfterValidator(lambda text: text and _key(text))] = ""
    operator: Literal["Equal", "Exists"] = "Equal"
    value: LabelValue = ""
    effect: Literal["", "NoSchedule", "PreferNoSchedule", "NoExecute"] = ""
    seconds: Annotated[int, Field(ge=0)] | None = None

    def model_post_init(self, context: object, /) -> None:
        if self.operator == "Exists" and self.value:
            raise ValueError(f"a toleration with 'Exists' has the value {self.value!r} (leave it out, or say 'Equal')")
        if self.operator == "Equal" and not self.key:
            raise ValueError("a toleration has no key (give one, or operator 'Exists' for every taint)")
        if self.seconds is not None and self.effect != "NoExecute":
            raise ValueError("a toleration has seconds, which only the effect 'NoExecute' knows (add it)")

    def __str__(self) -> str:
        seconds = "" if self.seconds is None else str(self.seconds)
        parts = {"key": self.key, "operator": self.operator, "value": self.value, "effect": self.effect}
        return ",".join(f"{name}={value}" for name, value in {**parts, "tolerationSeconds": seconds}.items() if value)


class NodeOptions(_Model):
    """What the pods of one buildx node are like; every field is optional.

    Args:
        image: of BuildKit; buildx's own choice (``moby/buildkit:buildx-stable-1``, or its rootless one) if empty.
        replicas: how many pods.
        requests, limits: ``{cpu, memory, ephemeral_storage}``.
        node_selector: labels of the nodes that pods may run on.
        tolerations: taints that they tolerate.
        annotations, labels: of the Deployment and its pods.
        service_account, scheduler: of the pods.
        rootless: run BuildKit as an ordinary user, without privileges. Its image has to be a rootless one.
        qemu: register emulators on the node first, in a privileged container.
        qemu_image: the image that does so.
        root_volume_memory: keep BuildKit's state in memory, so much of it.
        env: variables of the BuildKit daemon.
    """

    image: Image = ""
    replicas: int = Field(default=1, ge=1, le=1000)
    requests: Resources = Resources()
    limits: Resources = Resources()
    node_selector: dict[Key, LabelValue] = {}
    tolerations: tuple[Toleration, ...] = ()
    annotations: dict[Key, AnnotationValue] = {}
    labels: dict[Key, LabelValue] = {}
    service_account: ObjectName = ""
    scheduler: ObjectName = ""
    rootless: bool = False
    qemu: bool = False
    qemu_image: Image = ""
    root_volume_memory: Bytes = ""
    env: dict[Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")], str] = {}

    def model_post_init(self, context: object, /) -> None:
        for name, least in self.requests:
            most = getattr(self.limits, name)
            if least and most and amount(least) > amount(most):
                raise ValueError(f"requests.{name} is {least}, more than limits.{name}, {most} (ask for less)")
        for field, key in _RESERVED.items():
            if key in getattr(self, field):
                raise ValueError(f"{field}: {key!r} is buildx's own (choose another key)")
        if any(re.search(r"[\x00-\x1f]", value) for value in self.env.values()):
            raise ValueError("env: a value has a control character (buildx cannot pass it on)")

    def driver_options(self) -> dict[str, str]:
        """The options for ``docker buildx create --driver-opt``: only what is not the default."""
        given = {
            "image": self.image,
            "replicas": str(self.replicas) if self.replicas != 1 else "",
            **self.requests.driver_options("requests"),
            **self.limits.driver_options("limits"),
            "nodeselector": _pairs(self.node_selector),
            "tolerations": ";".join(str(item) for item in self.tolerations),
            "annotations": _pairs(self.annotations),
            "labels": _pairs(self.labels),
            "serviceaccount": self.service_account,
            "schedulername": self.scheduler,
            # Never `rootless=false`: buildx takes the rootless image as soon as the option is there.
            "rootless": "true" if self.rootless else "",
            "qemu.install": "true" if self.qemu else "",
            "qemu.image": self.qemu_image,
            "buildkit-root-volume-memory": self.root_volume_memory,
            **{f"env.{name}": value for name, value in self.env.items()},
        }
        return {name: value for name, value in given.items() if value}


class KubernetesOptions(NodeOptions):
    """How BuildKit runs in a cluster; the fields of ``NodeOptions``, for all its nodes, and more.

    Args:
        namespace: that of the kubeconfig's context if empty.
        kubeconfig: the file that leads to the cluster; ``KUBECONFIG``, ``~/.kube/config`` or, in a pod, its service
            account if not given. Its path is kept in the builder.
        context: of the kubeconfig; its current one if empty. (This needs ``kubectl``, as buildx takes a file's own.)
        load_balance: which of several replicas builds: ``sticky`` by the folder that is built, or ``random``.
        timeout: seconds to wait for the pods.
        buildkitd_config: a ``buildkitd.toml`` (mirrors, registries without TLS, CA certificates); becomes a ConfigMap.
        platforms: native nodes, as in ``{"linux/amd64": {}, "linux/arm64": {"replicas": 2}}``: each its own Deployment,
            for these platforms. What it says goes over what is said for all. Its pods run on machines of that
            architecture (node selector ``kubernetes.io/arch``), unless it has ``qemu``, or a selector that says
            another.
    """

    namespace: Annotated[str, AfterValidator(_namespace)] = ""
    kubeconfig: Path | None = None
    context: str = ""
    load_balance: Literal["sticky", "random"] = "sticky"
    timeout: float = Field(default=120, gt=0, le=86_400)
    buildkitd_config: Path | None = None
    platforms: dict[str, NodeOptions] = {}

    def model_post_init(self, context: object, /) -> None:
        super().model_post_init(context)
        seen: set[Platform] = set()
        for text in self.platforms:
            try:
                found = parse_platforms([text])
            except OhbuildError as error:
                raise ValueError(f"platforms: {error.message} ({error.hint})") from error
            if not found or seen.intersection(found):
                raise ValueError(f"platforms: {text!r} is empty or on two nodes (name each platform once)")
            seen.update(found)
        self.node_options()  # what is said for all and for one may not fit together

    def node_options(self) -> tuple[tuple[tuple[Platform, ...], dict[str, str]], ...]:
        """The platforms of each node, none for the cluster's own, and its driver options."""
        shared = {
            "namespace": self.namespace,
            "loadbalance": "" if self.load_balance == "sticky" else self.load_balance,
            "timeout": "" if self.timeout == 120 else f"{self.timeout:g}s",
        }
        shared = {name: value for name, value in shared.items() if value}
        if not self.platforms:
            return (((), {**shared, **self.driver_options()}),)
        common = {name: getattr(self, name) for name in self.model_fields_set & set(NodeOptions.model_fields)}
        result = []
        for text, node in self.platforms.items():
            platforms = parse_platforms([text])
            own = {name: getattr(node, name) for name in node.model_fields_set}
            merged = NodeOptions(**{**common, **own})
            architectures = {platform.architecture for platform in platforms}
            if not merged.qemu and len(architectures) == 1 and ARCHITECTURE_LABEL not in merged.node_selector:
                selector = {ARCHITECTURE_LABEL: architectures.pop(), **merged.node_selector}
                merged = merged.model_copy(update={"node_selector": selector})
            result.append((platforms, {**shared, **merged.driver_options()}))
        return tuple(result)


def _pairs(pairs: Mapping[str, str]) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted(pairs.items()))
