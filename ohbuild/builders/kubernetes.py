"""``KubernetesBuilder``: builds in a Kubernetes cluster with buildx's ``kubernetes`` driver."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from pydantic import ValidationError

from ohbuild.builders import kubeconfig
from ohbuild.builders.buildx import BuildxBuilder
from ohbuild.builders.errors import AgentRuntimeBuildError, Category, build_error, translated
from ohbuild.builders.request import BuildRequest
from ohbuild.config import validation
from ohbuild.config.kubernetes import KubernetesOptions
from ohbuild.docker import nodes
from ohbuild.docker.buildx import Builder, Buildx
from ohbuild.docker.connection import Connection
from ohbuild.docker.described import Node
from ohbuild.engine.connect import connect_builder
from ohbuild.engine.find import own_client
from ohbuild.errors import NoEngine, together
from ohbuild.locks import slot, slots_folder

_NAME = "ohbuild-kubernetes"
_DRIVER = "kubernetes"
_RIGHTS = "get, create and delete deployments and configmaps, list pods, create pods/exec"
_NO_CLUSTER = (
    "no configuration has been provided|invalid configuration|error loading config|no such file"
    "|requires kubernetes api access|namespaces? .* not found"
)
# Messages of buildx, client-go and the cluster, with the category and the hint. The first match counts.
_SAID: tuple[tuple[str, Category, str], ...] = (
    ("replicas to be ready", Category.RESOURCE, "check the pods with `kubectl describe pods -l app={node}{where}`"),
    ("exceeded quota", Category.RESOURCE, "reduce requests and limits, or increase the quota"),
    ("forbidden|unauthorized|must be logged in", Category.PERMISSION, f"grant the kubeconfig's user: {_RIGHTS}"),
    (_NO_CLUSTER, Category.CONTEXT, "set kubeconfig=… (or KUBECONFIG), and namespace=… to an existing namespace"),
    ("", Category.NETWORK, "check that the cluster responds with `kubectl cluster-info`"),
)


class KubernetesBuilder(BuildxBuilder):
    """Builds in pods that buildx starts in a Kubernetes cluster.

    The buildx builder is created unless it already exists. ``close()`` removes it with its Deployments if this object
    created it. An existing builder is used if it has the requested options, and is never removed. If the process is
    killed before ``close()``, remove the builder with ``docker buildx rm NAME``.

    The first build waits for the pods. Images are pushed by default, because a cluster has no image store to load them
    into, and ``image_exists`` looks in their registry.

    Configure registries without TLS, mirrors and CA certificates in a ``buildkitd.toml`` and set the option
    ``buildkitd_config`` to its path.

    A cancelled build ends in its pod at once. buildx before 0.36 may take up to 30 seconds longer, because it waits for
    a connection that it has already closed.

    Tested with buildx 0.29.1 and a simulated Kubernetes API server that validates every object and call. Behind it is a
    real BuildKit, connected through ``exec`` as in a cluster. The tests push a build for two platforms on two nodes.
    Not tested: a real cluster (admission of privileged pods, pulling BuildKit's image, scheduling), and rootless
    BuildKit, whose requirements are in https://github.com/moby/buildkit/blob/master/docs/rootless.md.

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
        self._created = self._booted = False

    def _provide(self) -> tuple[Buildx, Builder]:
        name, connection = self.settings.builder, self._client()
        environment = kubeconfig.variables(kubeconfig.place(connection, name), self.options)
        config, until = self.options.buildkitd_config, self._closing.is_set
        try:
            with self._explained():
                self._created = nodes.ensure(
                    connection, name, _DRIVER, self._nodes, config=config, environment=environment, until=until
                )
                return connect_builder(self.settings.builder, lambda: connection)
        except BaseException:
            self._release()
            raise

    def _solve(self, buildx: Buildx, request: BuildRequest, words: Sequence[str], stop: Callable[[], bool]) -> None:
        if not self._booted:
            # One process at a time: buildx fails if another one creates the Deployment after it has checked for it.
            # Booting before the build also keeps a failure from being reported as a failed step of the Dockerfile.
            connection, name = buildx.connection, self.settings.builder
            with slot(slots_folder(f"boot {nodes.store(connection)} {name}"), 1, stop), self._explained():
                nodes.boot(connection, name, timeout=self.options.timeout + 60, until=stop)
            self._booted = True
        super()._solve(buildx, request, words, stop)

    def _release(self) -> None:
        if not self._created:
            return
        connection, name = self._client(), self.settings.builder
        self._created = False
        try:
            nodes.remove(connection, name)
        except NoEngine as error:
            nodes.forget(connection, name)
            if self._booted:  # otherwise little is left behind, and the reason has already been reported
                left = " ".join(node.name for node in self._nodes)
                told = explained(error, left, self._where)
                raise build_error(
                    told.message, told.category, f"remove the rest with `kubectl delete deployment {left}{self._where}`"
                ) from error
        finally:
            kubeconfig.place(connection, name).unlink(missing_ok=True)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except NoEngine as error:
            raise explained(error, self._nodes[0].name, self._where) from error

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


def explained(error: NoEngine, node: str, where: str = "") -> AgentRuntimeBuildError:
    """Adds a category and a hint to an error of a builder in a cluster.

    Args:
        error: The error, with the message of buildx or the cluster.
        node: Name of a Deployment.
        where: Namespace as an option for kubectl; empty for the default.
    """
    category, hint = next((kind, hint) for said, kind, hint in _SAID if re.search(said, error.message, re.IGNORECASE))
    return build_error(error.message, category, hint.format(node=node, where=where))
