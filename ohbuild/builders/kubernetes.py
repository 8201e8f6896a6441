"""``KubernetesBuilder``: BuildKit in a Kubernetes cluster, by buildx's ``kubernetes`` driver."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
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
from ohbuild.errors import NoEngine, together
from ohbuild.locks import slot, slots_folder

_NAME = "ohbuild-kubernetes"
_DRIVER = "kubernetes"
_RIGHTS = "it needs: get, create and delete deployments (configmaps too), list pods, create pods/exec"
_NO_CLUSTER = (
    "no configuration has been provided|invalid configuration|error loading config|no such file"
    "|requires kubernetes api access|namespaces? .* not found"
)
# What buildx, client-go and the cluster say → the category and what to do. The first that fits.
_SAID: tuple[tuple[str, Category, str], ...] = (
    ("replicas to be ready", Category.RESOURCE, "see why the pods wait: `kubectl describe pods -l app={node}{where}`"),
    ("exceeded quota", Category.RESOURCE, "ask for less, or for a larger quota"),
    ("forbidden|unauthorized|must be logged in", Category.PERMISSION, f"see the kubeconfig's account: {_RIGHTS}"),
    (_NO_CLUSTER, Category.CONTEXT, "name the cluster with kubeconfig=… (or KUBECONFIG), and a namespace that exists"),
    ("", Category.NETWORK, "does the cluster answer? `kubectl cluster-info` tells"),
)


class KubernetesBuilder(BuildxBuilder):
    """Builds in pods of a Kubernetes cluster that buildx starts there; ohbuild schedules nothing itself.

    buildx's builder is made when there is none of its name, and then removed by ``close()`` with its Deployments; one
    that is there already is used, if it is what was asked for, and stays. (After a process that was killed before
    ``close()``, ``docker buildx rm NAME`` removes it.) The first build waits for the pods. Images are pushed, as a
    cluster has no store to load them into; so ``image_exists`` asks their registry, always.

    A registry without TLS, or one that the pods know under another name, is for ``buildkitd_config`` to say.

    A cancelled build ends in its pod at once; buildx itself may take half a minute more (before 0.36 it waits for a
    connection that it has closed itself).

    What was tried: everything here against buildx 0.29.1 itself and a double of an API server, which checks each object
    and call, with a real BuildKit behind it, to which buildx is connected by ``exec`` as in a cluster: a build for two
    platforms on two nodes, pushed. Nothing was run on a real cluster: whether one admits privileged pods, pulls
    BuildKit's image, or finds room for them, was not tried. Nor was rootless BuildKit, which wants of the machines what
    https://github.com/moby/buildkit/blob/master/docs/rootless.md says.

    Args:
        options: the cluster, the pods; ``KubernetesOptions`` or a mapping of its fields. The setting ``kubernetes`` if
            not given.
        builder: name of buildx's builder; ``ohbuild-kubernetes`` if neither this nor the setting says one.
        push, load: as for ``BuildxBuilder``; it loads (through the client, into the local Docker) only if told.
        **more: as for ``BuildxBuilder``.

    Raises:
        AgentRuntimeBuildError: an option is wrong. Nothing was asked of the cluster.
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
        with translated("making a KubernetesBuilder"):
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
            # One at a time, over all processes: buildx fails if another makes the Deployment between its look and its
            # own making. And not by the build itself, whose error would be about a step of the Dockerfile.
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
            if self._booted:  # else hardly anything is there, and what kept it from booting has been told
                left = " ".join(node.name for node in self._nodes)
                told = explained(error, left, self._where)
                raise build_error(
                    told.message, told.category, f"remove what is left: `kubectl delete deployment {left}{self._where}`"
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
        """For a command of kubectl's that we show."""
        return f" -n {self.options.namespace}" if self.options.namespace else ""

    def _client(self) -> Connection:
        """The engine's client; without an engine, which this driver does not need, the user's own."""
        try:
            return self._engine
        except NoEngine:
            client = shutil.which("docker")
            if client is None:
                raise
            return Connection(docker=Path(client), host=None, config_dir=None, registry=None, origin="system")


def read_options(options: KubernetesOptions | Mapping[str, Any]) -> KubernetesOptions:
    """Options out of a mapping.

    Raises:
        InvalidSetting: a field is unknown or wrong; all of them in one ``SeveralErrors``.
    """
    if isinstance(options, KubernetesOptions):
        return options
    try:
        return KubernetesOptions.model_validate(options)
    except ValidationError as error:
        problems = validation.explained(error, lambda location: validation.spoken(("kubernetes", *location)))
        raise together("the options for Kubernetes are wrong", problems) from error


def explained(error: NoEngine, node: str, where: str = "") -> AgentRuntimeBuildError:
    """What it means that pods did not come up, and who can fix it.

    Args:
        node: the name of a Deployment.
        where: the namespace, as kubectl takes it.
    """
    category, hint = next((kind, hint) for said, kind, hint in _SAID if re.search(said, error.message, re.IGNORECASE))
    return build_error(error.message, category, hint.format(node=node, where=where))
