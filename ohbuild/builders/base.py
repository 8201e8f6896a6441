"""``RuntimeBuilder``: OpenHands' interface, which every builder here has."""

from __future__ import annotations

import abc
import threading
from types import TracebackType
from typing import Self


class RuntimeBuilder(abc.ABC):
    """Builds runtime images and tells whether they are there.

    The interface is that of ``openhands.runtime.builder.base.RuntimeBuilder`` (OpenHands 1.6.0) with the later optional
    keywords. Builders of third parties (entry-point group ``ohbuild.builders``) derive from this class. It is a context
    manager; leaving it calls ``close()``.
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
        """Build an image from a folder.

        Args:
            path: the build context, a folder with a ``Dockerfile``.
            tags: names of the image (``repository:tag``), at least one; it gets all of them.
            platform: as in ``linux/amd64``; several by comma; the builder's default if ``None``.
            extra_build_args: options of ``docker buildx build`` (``--build-arg=NAME=VALUE``, ``--network=host``, …).
            use_local_cache: keep a build cache in a local folder as well, for builders that forget theirs.
            timeout: seconds for all of it, waiting included; the builder's default if ``None``.
            cancel: when it is set, from any thread, this build stops, and no other.

        Returns:
            The ``name:tag`` that a runtime is to use.

        Raises:
            AgentRuntimeBuildError: for every failure.
        """

    @abc.abstractmethod
    def image_exists(self, image_name: str, pull_from_repo: bool = True) -> bool:
        """Whether an image is there.

        Args:
            image_name: ``name:tag`` or ``name@sha256:…``.
            pull_from_repo: whether its registry may be asked as well (OpenHands' name; nothing is pulled).

        Raises:
            AgentRuntimeBuildError: it could not be found out.
        """

    def close(self) -> None:  # noqa: B027 — most builders have nothing to give back
        """Give back what the builder made for itself. It may be called twice."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
