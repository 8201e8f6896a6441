"""``KubernetesBuilder``: builds in a Kubernetes cluster with buildx's ``kubernetes`` driver."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from pydantic import ValidationError

from ohbuild.builders import kubeconfig
from ohbuild.builders.buildx import BuildxBuilder
from ohbuild.builders.cluster import Build, Cluster, Start
from ohbuild.builders.errors import AgentRuntimeBuildError, Category, build_error, translated
from ohbuild.builders.pods import Obstacle
from ohbuild.builders.request import BuildRequest
from ohbuild.builders.sharing import Share
from ohbuild.builders.waiting import Stop
from ohbuild.config import validation
from ohbuild.config.kubernetes import KubernetesOptions
from ohbuild.docker import nodes
from ohbuild.docker.buildx import Builder, Buildx
from ohbuild.docker.connection import Connection
from ohbuild.docker.described import Node
from ohbuild.engine.connect import connect_builder
from ohbuild.engine.find import own_client
from ohbuild.errors import Interrupted, NoEngine, OhbuildError, together
from ohbuild.images.platform import Platform
from ohbuild.locks import slot, slots_folder

_log = logging.getLogger("ohbuild.builders")
_NAME = "ohbuild-kubernetes"
_DRIVER = "kubernetes"
_RIGHTS = "get, create and delete deployments, get, create, update and delete configmaps, list pods, create pods/exec"
# What buildx says if its connection to BuildKit ends.
_CUT = re.compile(r"code = Unavailable|\bEOF\b|transport is closing|context canceled|connection reset|broken pipe")
_NO_CLUSTER = (
    "no configuration has been provided|invalid configuration|error loading config|no such file"
    "|requires kubernetes api access|namespaces? .* not found"
)
# Messages of buildx, client-go and the cluster, with the category and the hint. The first match counts.
_SAID: tuple[tuple[str, Category, str], ...] = (
    ("replicas to be ready", Category.RESOURCE, "check the pods with `kubectl describe pods -l {nodes}{where}`"),
    ("exceeded quota", Category.RESOURCE, "reduce requests and limits, or increase the quota"),
    ("unauthorized|must be logged in|provide credentials", Category.PERMISSION,
     "the credentials in the kubeconfig are not valid or have expired: log in to the cluster again"),
    ("forbidden", Category.PERMISSION, f"grant the kubeconfig's user: {_RIGHTS}"),
    ("certificate has expired or is not yet valid", Category.CONTEXT,
     "renew the certificates of the kubeconfig or of the cluster, and check the clock"),
    ("certificate signed by unknown authority", Category.CONTEXT,
     "add the cluster's CA to the kubeconfig (certificate-authority-data)"),
    ("executable .* not found|getting credentials: exec", Category.CONTEXT,
     "install the credential plug-in that the kubeconfig names, and check that it works with `kubectl get pods`"),
    (_NO_CLUSTER, Category.CONTEXT, "set kubeconfig=… (or KUBECONFIG), and namespace=… to an existing namespace"),
    ("", Category.NETWORK, "check that the cluster responds with `kubectl cluster-info`"),
)  # fmt: skip
# Where the pods find a buildkitd.toml. Rootless BuildKit looks for it in its home folder.
_CONFIG_FLAG = "--config=/etc/buildkit/buildkitd.toml"


class KubernetesBuilder(BuildxBuilder):
    """Builds in pods that buildx starts in a Kubernetes cluster.

    The buildx builder is created unless it already exists. ``close()`` removes it with its Deployments if this object
    created it; if other processes of this user still use it, the last of them does. A builder that was not created by a
    ``KubernetesBuilder`` is used if it has the requested options, and is never removed. If the process is killed before
    ``close()``, remove the builder with ``docker buildx rm NAME``.

    The first build waits for the pods. kubectl tells why they do not start, and that a pod is gone in the middle of a
    build, which then ends within 30 seconds: buildx itself does not notice.

    Images are pushed by default, because a cluster has no image store to load them into, and ``image_exists`` looks in
    their registry.

    Configure registries without TLS, mirrors and CA certificates in a ``buildkitd.toml`` and set the option
    ``buildkitd_config`` to its path.

    A cancelled build ends in its pod at once. buildx before 0.36 may take up to 30 seconds longer, because it waits for
    a connection that it has already closed.

    Tested with buildx 0.29.1 and a simulated Kubernetes API server that validates every object and call. Behind it is a
    real BuildKit, connected through ``exec`` as in a cluster. Building, pushing and closing were also tried on a real
    cluster of one machine, Kubernetes 1.36 with BuildKit 0.32. The requirements of rootless BuildKit are in
    https://github.com/moby/buildkit/blob/master/docs/rootless.md.

    Args:
        options: Cluster and pods: ``KubernetesOptions``, or a mapping with its fields; by default the setting
            ``kubernetes``.
        builder: Name of the buildx builder; by default the one in the settings, or else ``ohbuild-kubernetes``.
        push: Whether to push all tags of the image to their registries.
        load: Whether to load the image into the local Docker, through the client.
        **more: Other arguments of ``BuildxBuilder``: ``settings``, ``platform``, ``max_builds``, ``timeout``, ….

    Raises:
        AgentRuntimeBuildError: An option or setting is invalid. The cluster is not contacted before the first build.

    Example:
        >>> options = {"namespace": "builds", "platforms": {"linux/amd64": {}, "linux/arm64": {}}}
        >>> with ohbuild.KubernetesBuilder(options=options) as builder:
        ...     builder.build("path/to/folder", ["registry.example/runtime:1"], platform="linux/amd64,linux/arm64")
    """

    def __init__(
        self,
        *,
        options: KubernetesOptions | Mapping[str, Any] | None = None,
        builder: str = "",
        push: bool = True,
        load: bool = False,
        **more: Any,
    ) -> None:
        super().__init__(builder=builder, push=push, load=load, **more)
        if not self.settings.builder:
            self.settings = self.settings.model_copy(update={"builder": _NAME})
        with translated("creating the KubernetesBuilder"):
            self.options = self.settings.kubernetes if options is None else read_options(options)
            name = nodes.check_name(self.settings.builder)
            self._nodes = [
                Node(name=nodes.node_name(name, platforms), platforms=platforms, options=given)
                for platforms, given in self.options.node_options()
            ]
        self._created = False
        self._booted: set[str] = set()
        self._cluster = Cluster({}, self.options.namespace)
        self._share: Share | None = None

    def _provide(self) -> tuple[Buildx, Builder]:
        name, connection = self.settings.builder, self._client()
        environment = kubeconfig.variables(kubeconfig.place(connection, name), self.options)
        config, until = self.options.buildkitd_config, self._closing.is_set
        flags = _CONFIG_FLAG if config and self.options.rootless else ""
        self._cluster = Cluster(environment, self.options.namespace)
        if not self._cluster.available:
            _log.warning("kubectl is missing, without which nothing tells why a pod does not start, or that it is gone")
        self._share = Share(f"{nodes.store(connection)} {name}")
        self._share.begin(until)
        try:
            with self._explained():
                self._created = nodes.ensure(
                    connection, name, _DRIVER, self._nodes,
                    config=config, flags=flags, environment=environment, until=until,
                )  # fmt: skip
                if not self._created and (there := nodes.describe(connection, name, environment)):
                    self._nodes = list(there.nodes)  # whose names somebody else has chosen
                return connect_builder(self.settings.builder, lambda: connection)
        except BaseException:
            self._release()
            raise

    def _solve(self, buildx: Buildx, request: BuildRequest, words: Sequence[str], stop: Stop, **more: Any) -> None:
        needed = self._needed(request.platforms)
        self._boot(buildx.connection, needed, stop)
        connection, builder, begin = buildx.connection, self.settings.builder, time.time()

        def runs() -> bool | None:
            ids = nodes.build_ids(connection, builder, request.folder, begin)
            running = nodes.running_builds(connection, builder) if ids else None
            return None if running is None else bool(ids & running)

        with Build(self._cluster, needed, runs) as watch:
            try:
                listener = watch.listening(self._listener)
                super()._solve(buildx, request, words, stop, listener=listener, lost=lambda: bool(watch.lost))
            except OhbuildError as error:
                if isinstance(error, NoEngine):  # the pods of an earlier build are gone, and new ones do not start
                    self._booted.clear()
                    raise self._does_not_start(error, Start(self._cluster, needed).look()) from error
                lost = watch.lost or (watch.look() if _CUT.search(error.message) else "")
                if not lost or stop():
                    raise
                self._booted.clear()
                what = f"the build of {request.tags[0]} has lost its builder: {lost}"
                raise build_error(what, Category.RESOURCE, hint_for(lost)) from error

    def _boot(self, connection: Connection, needed: Sequence[str], stop: Stop) -> None:
        """Starts the pods before a build, so that a failure is not reported as a step of the Dockerfile.

        buildx starts those of all nodes, and waits for all. The build only needs one pod of each that it builds on.
        """
        if self._booted.issuperset(needed):
            return
        name = self.settings.builder
        # One process at a time: buildx fails if another one creates the Deployment after it has checked for it.
        with (
            slot(slots_folder(f"boot {nodes.store(connection)} {name}"), 1, stop),
            Start(self._cluster, needed) as start,
            self._explained(),
        ):
            try:
                limit = self.options.timeout + 60
                nodes.boot(connection, name, timeout=limit, until=lambda: stop() or start.hopeless or start.enough)
            except (NoEngine, Interrupted) as error:
                if stop() or not start.enough:
                    obstacle = start.look() if stop.timed_out or not stop() else None
                    if not obstacle:
                        raise
                    raise self._does_not_start(error, obstacle) from error
                _log.info("not all pods of builder %s run, but those that this build needs do", name)
        self._booted.update(needed)

    def _does_not_start(self, error: OhbuildError, obstacle: Obstacle | None) -> AgentRuntimeBuildError:
        if not obstacle:
            return explained(NoEngine(error.message), self._names, self._where)
        what = f"builder {self.settings.builder!r} does not start: {obstacle.reason}"
        return build_error(what, obstacle.category, obstacle.hint)

    def _needed(self, platforms: Sequence[Platform]) -> list[str]:
        """Returns the Deployments that build for these platforms; all if none or another one is asked for."""
        wanted = {*platforms}
        found = [node for node in self._nodes if wanted & {*node.platforms}]
        covered = {platform for node in found for platform in node.platforms}
        return [node.name for node in found] if wanted and wanted <= covered else self._names

    @property
    def _names(self) -> list[str]:
        """The Deployments."""
        return [node.name for node in self._nodes]

    def _release(self) -> None:
        made, self._created = self._created, False
        if self._share:
            self._share.end(made=made, identity=" ".join(self._names), remove=self._remove)

    def _remove(self) -> None:
        connection, name = self._client(), self.settings.builder
        try:
            nodes.remove(connection, name)
        except NoEngine as error:
            nodes.forget(connection, name)
            if self._booted:  # otherwise little is left behind, and the reason has already been reported
                left = f"kubectl delete deployment {' '.join(self._names)}{self._where}"
                if self.options.buildkitd_config:  # buildx keeps it in a ConfigMap
                    left += (
                        f"; kubectl delete configmap {' '.join(f'{item}-config' for item in self._names)}{self._where}"
                    )
                told = explained(error, self._names, self._where)
                raise build_error(told.message, told.category, f"remove the rest with `{left}`") from error
        finally:
            kubeconfig.place(connection, name).unlink(missing_ok=True)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except NoEngine as error:
            raise explained(error, self._names, self._where) from error

    @property
    def _where(self) -> str:
        """The namespace as an option for kubectl commands in hints."""
        return f" -n {self.options.namespace}" if self.options.namespace else ""

    def _client(self) -> Connection:
        """Returns the connection to the engine, or one to the user's own client, as this driver needs no engine."""
        try:
            return self._engine
        except NoEngine:
            client = own_client()
            if client is None:
                raise
            return Connection(docker=client, host=None, config_dir=None, registry=None, origin="system")


def read_options(options: KubernetesOptions | Mapping[str, Any]) -> KubernetesOptions:
    """Validates options given as a mapping.

    Raises:
        InvalidSetting: A field is unknown or has an invalid value; several are raised as one ``SeveralErrors``.
    """
    if isinstance(options, KubernetesOptions):
        return options
    try:
        return KubernetesOptions.model_validate(options)
    except ValidationError as error:
        problems = validation.explained(error, lambda location: ("", validation.spoken(("kubernetes", *location))))
        raise together("invalid options for Kubernetes", problems) from error


def explained(error: NoEngine, names: Sequence[str], where: str = "") -> AgentRuntimeBuildError:
    """Adds a category and a hint to an error of a builder in a cluster.

    Args:
        error: The error, with the message of buildx or the cluster.
        names: Names of the Deployments.
        where: Namespace as an option for kubectl; empty for the default.
    """
    category, hint = next((kind, hint) for said, kind, hint in _SAID if re.search(said, error.message, re.IGNORECASE))
    selector = f"app={names[0]}" if len(names) == 1 else f"'app in ({', '.join(names)})'"
    return build_error(error.message, category, hint.format(nodes=selector, where=where))


def hint_for(lost: str) -> str:
    """Returns how to keep a pod from being lost in this way."""
    if re.search(r"ephemeral|disk", lost, re.IGNORECASE):
        return "raise limits.ephemeral_storage, or build on machines with more disk, then build again"
    if re.search(r"OOMKilled|memory", lost):
        return "raise limits.memory, then build again"
    return "build again: it starts a new pod, which has no build cache yet"
