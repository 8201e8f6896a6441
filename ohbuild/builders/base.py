"""``RuntimeBuilder``: OpenHands' interface, implemented by all builders of ohbuild."""

from __future__ import annotations

import abc
import threading
from types import TracebackType
from typing import Self


class RuntimeBuilder(abc.ABC):
    """Builds runtime images and checks whether they exist.

    The interface is that of ``openhands.runtime.builder.base.RuntimeBuilder`` in OpenHands 1.6.0, with additional
    optional keyword arguments. It is also a context manager that calls ``close()`` on exit. Third-party builders
    (entry-point group ``ohbuild.builders``) subclass it.

    Example:
        >>> with ohbuild.create_builder("docker") as builder:
        ...     name = builder.build("path/to/folder", ["my/runtime:1"])
    """

    @abc.abstractmethod
    def build(
        self,
        path: str,
        tags: list[str],
        platform: str | None = None,
        extra_build_args: list[str] | None = None,
        use_local_cache: bool = False,
        *,
        timeout: float | None = None,
        cancel: threading.Event | None = None,
    ) -> str:
        """Builds an image from a folder.

        Args:
            path: Build context: a folder with a ``Dockerfile``.
            tags: Names of the image (``repository:tag``), at least one. The image gets all of them.
            platform: Platform such as ``linux/amd64``, or several separated by commas; the builder's default if
                ``None``.
            extra_build_args: Options for ``docker buildx build``, such as ``--build-arg=NAME=VALUE`` or
                ``--network=host``.
            use_local_cache: Whether to also keep the build cache in a local folder, for builders that lose theirs.
            timeout: Time limit in seconds, including the time spent waiting for other builds; the builder's default if
                ``None``, no limit if 0.
            cancel: Stops this build when set, from any thread. Other builds are not affected.

        Returns:
            The ``name:tag`` to start the runtime from.

        Raises:
            AgentRuntimeBuildError: An argument is invalid, or the build failed, timed out or was cancelled.
        """

    @abc.abstractmethod
    def image_exists(self, image_name: str, pull_from_repo: bool = True) -> bool:
        """Checks whether an image exists.

        Args:
            image_name: Name of the image, ``name:tag`` or ``name@sha256:…``.
            pull_from_repo: Whether to look in the image's registry too. The name is OpenHands'; nothing is pulled.

        Raises:
            AgentRuntimeBuildError: The check failed, so that it is unknown whether the image exists.
        """

    def close(self) -> None:  # noqa: B027 — most builders hold no resources
        """Releases the resources of the builder. May be called more than once."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
