"""How BuildKit runs in a Kubernetes cluster. Options are checked before the cluster is contacted.

Sources: option names from buildx 0.29.1, driver/kubernetes/factory.go (``processDriverOpts``); rules for names and
quantities from Kubernetes' apimachinery (``util/validation``, ``api/resource``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    WithJsonSchema,
    model_serializer,
)

from ohbuild.config.validation import Table, checked
from ohbuild.config.values import OPTIONAL_REFERENCE
from ohbuild.errors import OhbuildError
from ohbuild.images.platform import PATTERN as PLATFORMS
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
# buildx sets these itself and rejects other values.
_RESERVED = {"labels": "app", "annotations": "buildx.docker.com/platform"}


def amount(quantity: str) -> Decimal:
    """Converts a quantity to a number of bytes or processors.

    Raises:
        ValueError: It does not follow Kubernetes' grammar (``500m``, ``2``, ``1.5Gi``).
    """
    match = _QUANTITY.fullmatch(quantity)
    if match is None:
        suffix = quantity.lstrip("0123456789.")
        meant = next((known for known in _FACTORS if known.lower() == suffix.removesuffix("B").lower()), "")
        hint = (
            f"perhaps you meant {quantity.removesuffix(suffix) + meant!r}"
            if meant
            else "use a number with a unit: 2, 500m, 4Gi"
        )
        raise ValueError(f"{quantity!r} is not a quantity ({hint})")
    number, suffix = Decimal(match[1]), match[2] or ""
    power = suffix[1:] if suffix[:1] in ("e", "E") else ""
    return number.scaleb(int(power)) if power else number * _FACTORS.get(suffix, 1)


def _cpu(text: str) -> str:
    number = amount(text) if text else Decimal(1)
    if not Decimal("0.001") <= number <= 10_000:
        raise ValueError(f"{text!r} is not a valid number of processors (use 2, or 500m for half of one)")
    return text


def _bytes(text: str) -> str:
    if text and amount(text) < 1_000_000:
        raise ValueError(f"{text!r} is less than a megabyte (use 4Gi or 500Mi; a lowercase m means thousandths)")
    return text


def _namespace(text: str) -> str:
    if text and not _DNS_LABEL.fullmatch(text):
        raise ValueError(f"{text!r} is not a valid namespace (use at most 63 lowercase letters, digits and '-')")
    return text


def _dns_path(text: str) -> str:
    if text and (len(text) > 253 or not all(_DNS_LABEL.fullmatch(part) for part in text.split("."))):
        raise ValueError(
            f"{text!r} is not a valid Kubernetes name (use at most 253 lowercase letters, digits, '-' and '.')"
        )
    return text


def _label_value(text: str) -> str:
    if text and not _LABEL_NAME.fullmatch(text):
        raise ValueError(f"{text!r} is not a valid label value (use at most 63 letters, digits, '-', '_' and '.')")
    return text


def _key(text: str) -> str:
    prefix, slash, name = text.rpartition("/")
    if not _LABEL_NAME.fullmatch(name) or (slash and not prefix):
        raise ValueError(f"{text!r} is not a valid key (use name or example.com/name)")
    _dns_path(prefix)
    return text


def _annotation(text: str) -> str:
    if re.search(r'[,="\x00-\x1f]', text):
        raise ValueError(f"buildx cannot pass on {text!r} (remove ',', '=', '\"' and line breaks)")
    return text


def _image(text: str) -> str:
    return text and str(checked(lambda: ImageRef.parse(text)))


_TEXT = {"type": ["string", "number"]}  # see coerce_numbers_to_str
_AMOUNT = WithJsonSchema({**_TEXT, "pattern": f"^(?:{_QUANTITY.pattern})?$"})
Cpu = Annotated[str, AfterValidator(_cpu), _AMOUNT]
Bytes = Annotated[str, AfterValidator(_bytes), _AMOUNT]
Key = Annotated[str, AfterValidator(_key)]
LabelValue = Annotated[str, AfterValidator(_label_value), WithJsonSchema(_TEXT)]
AnnotationValue = Annotated[str, AfterValidator(_annotation), WithJsonSchema(_TEXT)]
VariableValue = Annotated[str, WithJsonSchema(_TEXT)]
Image = Annotated[str, AfterValidator(_image), WithJsonSchema(OPTIONAL_REFERENCE)]
ObjectName = Annotated[str, AfterValidator(_dns_path)]


class _Model(Table):
    model_config = ConfigDict(coerce_numbers_to_str=True)

    @model_serializer(mode="wrap")
    def _given(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Serializes only the fields that were given, as there are many."""
        return {name: value for name, value in handler(self).items() if name in self.model_fields_set}


class Resources(_Model):
    """Resources that a pod requests or is limited to, as Kubernetes quantities; empty for none.

    Attributes:
        cpu: Processors, such as 2 or 500m.
        memory: Memory, such as 4Gi.
        ephemeral_storage: Local storage, such as 20Gi.
    """

    cpu: Cpu = ""
    memory: Bytes = ""
    ephemeral_storage: Bytes = ""

    def driver_options(self, prefix: str) -> dict[str, str]:
        """Returns them as driver options: ``requests.cpu`` and so on for the prefix ``requests``."""
        return {f"{prefix}.{name.replace('_', '-')}": value for name, value in self}


class Toleration(_Model):
    """A toleration of node taints (https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/).

    Attributes:
        key: Key of the taint. With `Exists`, an empty key tolerates every taint.
        operator: `Equal` compares the value; `Exists` accepts any.
        value: Value of the taint.
        effect: Effect of the taint; empty for any.
        seconds: How long a pod stays on a node that gets the taint; only for `NoExecute`.
    """

    key: Annotated[str, AfterValidator(lambda text: text and _key(text))] = ""
    operator: Literal["Equal", "Exists"] = "Equal"
    value: LabelValue = ""
    effect: Literal["", "NoSchedule", "PreferNoSchedule", "NoExecute"] = ""
    seconds: Annotated[int, Field(ge=0)] | None = None

    def model_post_init(self, context: object, /) -> None:
        """Checks that the fields fit together."""
        if self.operator == "Exists" and self.value:
            raise ValueError(f"a toleration with 'Exists' has the value {self.value!r} (remove it, or use 'Equal')")
        if self.operator == "Equal" and not self.key:
            raise ValueError("a toleration has no key (set one, or use the operator 'Exists' for every taint)")
        if self.seconds is not None and self.effect != "NoExecute":
            raise ValueError("a toleration has seconds without the effect 'NoExecute' (set this effect)")

    def __str__(self) -> str:
        """Returns it in the form of buildx's driver option."""
        seconds = "" if self.seconds is None else str(self.seconds)
        parts = {"key": self.key, "operator": self.operator, "value": self.value, "effect": self.effect}
        return ",".join(f"{name}={value}" for name, value in {**parts, "tolerationSeconds": seconds}.items() if value)


class NodeOptions(_Model):
    """Options for the pods of one buildx node; all are optional.

    Attributes:
        image: BuildKit image; by default buildx's choice (`moby/buildkit:buildx-stable-1`, or its rootless variant).
        replicas: Number of pods.
        requests: Resources that each pod requests.
        limits: Resources that each pod may use at most.
        node_selector: Labels of the machines that the pods may run on.
        tolerations: Taints that the pods tolerate.
        annotations: Annotations of the Deployment and its pods.
        labels: Labels of the Deployment and its pods.
        service_account: Service account of the pods.
        scheduler: Scheduler of the pods.
        rootless: Run BuildKit as an unprivileged user; a custom image must then be a rootless one.
        qemu: Register emulators on the machine first, in a privileged container.
        qemu_image: Image that registers the emulators.
        root_volume_memory: Keep BuildKit's state in memory, up to this size.
        env: Environment variables of the BuildKit daemon.
    """

    image: Image = ""
    replicas: int = Field(default=1, ge=1, le=1000)
    requests: Resources = Resources()
    limits: Resources = Resources()
    node_selector: dict[Key, LabelValue] = Field(default={})
    tolerations: tuple[Toleration, ...] = ()
    annotations: dict[Key, AnnotationValue] = Field(default={})
    labels: dict[Key, LabelValue] = Field(default={})
    service_account: ObjectName = ""
    scheduler: ObjectName = ""
    rootless: bool = False
    qemu: bool = False
    qemu_image: Image = ""
    root_volume_memory: Bytes = ""
    env: dict[Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")], VariableValue] = Field(default={})

    def model_post_init(self, context: object, /) -> None:
        """Checks that the fields fit together."""
        for name, least in self.requests:
            most = getattr(self.limits, name)
            if least and most and amount(least) > amount(most):
                raise ValueError(f"requests.{name} {least} exceeds limits.{name} {most} (request less)")
        for field, key in _RESERVED.items():
            if key in getattr(self, field):
                raise ValueError(f"{field}: {key!r} is reserved by buildx (use another key)")
        if any(re.search(r"[\x00-\x1f]", value) for value in self.env.values()):
            raise ValueError("env: a value has a control character, which buildx cannot pass on (remove it)")

    def driver_options(self) -> dict[str, str]:
        """Returns the options that differ from the defaults, for ``docker buildx create --driver-opt``."""
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
            # Never `rootless=false`: buildx uses the rootless image whenever the option is present.
            "rootless": "true" if self.rootless else "",
            "qemu.install": "true" if self.qemu else "",
            "qemu.image": self.qemu_image,
            "buildkit-root-volume-memory": self.root_volume_memory,
            **{f"env.{name}": value for name, value in self.env.items()},
        }
        return {name: value for name, value in given.items() if value}


class KubernetesOptions(NodeOptions):
    """How BuildKit runs in a cluster: options of its builder, and those of ``NodeOptions`` for all nodes.

    Attributes:
        namespace: Namespace of the pods; by default that of the kubeconfig's context.
        kubeconfig: Kubeconfig file of the cluster; by default `KUBECONFIG`, `~/.kube/config` or, in a pod, its service
            account. The builder remembers its path.
        context: Context in the kubeconfig; by default the current one. Requires `kubectl`, as buildx itself always uses
            a file's current context.
        load_balance: Which of several replicas builds: `sticky`, always the same one for a folder, or `random`.
        timeout: Seconds to wait for the pods.
        buildkitd_config: A `buildkitd.toml` for mirrors, registries without TLS and CA certificates; becomes a
            ConfigMap.
        platforms: Native nodes, such as `{"linux/amd64": {}, "linux/arm64": {"replicas": 2}}`: a Deployment for each,
            whose options override those for all nodes. Its pods run on machines of that architecture (node selector
            `kubernetes.io/arch`), unless `qemu` or another selector for it is set.
    """

    namespace: Annotated[str, AfterValidator(_namespace)] = ""
    kubeconfig: Path | None = None
    context: str = ""
    load_balance: Literal["sticky", "random"] = "sticky"
    timeout: float = Field(default=120, gt=0, le=86_400)
    buildkitd_config: Path | None = None
    platforms: dict[str, NodeOptions] = Field(default={}, json_schema_extra={"propertyNames": {"pattern": PLATFORMS}})

    def model_post_init(self, context: object, /) -> None:
        """Checks that the fields fit together, for each node too."""
        super().model_post_init(context)
        seen: set[Platform] = set()
        for text in self.platforms:
            try:
                found = parse_platforms([text])
            except OhbuildError as error:
                raise ValueError(f"platforms: {error.message} ({error.hint})") from error
            if not found or seen.intersection(found):
                raise ValueError(f"platforms: {text!r} is empty or has a platform of another node (list each once)")
            seen.update(found)
        self.node_options()  # raises if options for all nodes and for one of them contradict each other

    def node_options(self) -> tuple[tuple[tuple[Platform, ...], dict[str, str]], ...]:
        """Returns the platforms of each node, or none for the cluster's own platform, and its driver options."""
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
