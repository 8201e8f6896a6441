"""Asks a cluster about a builder's pods, with kubectl: as the user of the builder's kubeconfig, like buildx.

buildx does not report why a pod does not start, and does not notice that the pod in which it builds is gone.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ohbuild import process
from ohbuild.builders import pods as states
from ohbuild.builders.pods import Object, Obstacle

_log = logging.getLogger("ohbuild.builders")
_PAUSE = 3.0  # seconds between questions
_ANSWERS_WITHIN = 10.0  # seconds
# Seconds without a word from BuildKit after which a build is taken for lost: if it only has one pod, and that is gone;
# and otherwise, if the build may run in another pod or its connection may have survived.
_QUIET_ALONE, _QUIET = 3.0, 15.0
_UNKNOWN = 2  # times that BuildKit does not know the build, after which it has ended in its pod
_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_UNREACHABLE = ("refused", "reset", "eof", "timeout", "timed out", "unable to connect", "no route", "no such host")


class Unanswered(Exception):
    """The cluster gave no answer. The message is kubectl's.

    Attributes:
        unreachable: Whether its API server cannot be reached; otherwise it refused the question.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.unreachable = any(word in message.lower() for word in _UNREACHABLE)


class Cluster:
    """Asks an API server.

    Args:
        environment: Environment variables for kubectl (``KUBECONFIG``).
        namespace: Namespace of the pods; by default that of the kubeconfig's context.
    """

    def __init__(self, environment: Mapping[str, str], namespace: str = "") -> None:
        self._environment, self._namespace = environment, namespace

    @property
    def available(self) -> bool:
        """Whether there is a kubectl to ask with."""
        return process.ask(["kubectl", "version", "--client", "--output=json"], timeout=_ANSWERS_WITHIN).ok

    def deployment(self, name: str) -> Object | None:
        """Returns a Deployment; ``None`` if it does not exist.

        Raises:
            Unanswered: There is no answer.
        """
        found = self._get("apis/apps/v1", f"deployments/{quote(name)}")
        return found if isinstance(found, dict) else None

    def pods(self, names: Sequence[str]) -> list[Object]:
        """Returns the pods of Deployments, which buildx gives the label ``app`` with their name.

        Raises:
            Unanswered: There is no answer.
        """
        selector = quote(f"app in ({','.join(names)})")
        found = self._get("api/v1", f"pods?labelSelector={selector}")
        items: list[Object] = [item for item in (found or {}).get("items") or () if isinstance(item, dict)]
        return items

    def obstacle(self, names: Sequence[str]) -> Obstacle | None:
        """Returns why one of the Deployments has no pod that runs; ``None`` if nothing is known.

        Raises:
            Unanswered: There is no answer.
        """
        found = [states.obstacle(self.deployment(name), self.pods([name])) for name in names]
        known = [item for item in found if item]
        return next((item for item in known if item.final), known[0] if known else None)

    def _get(self, api: str, what: str) -> Any:
        if not self._namespace:
            self._namespace = self._default_namespace()
        path = f"/{api}/namespaces/{self._namespace}/{what}"
        words = ["kubectl", "get", "--raw", path, f"--request-timeout={_ANSWERS_WITHIN / 2:g}s"]
        answer = process.ask(words, env=self._environment, timeout=_ANSWERS_WITHIN)
        if not answer.ok:
            if "(notfound)" in answer.err.lower():
                return None
            raise Unanswered(answer.last)
        try:
            return json.loads(answer.out)
        except ValueError as error:
            raise Unanswered(f"the answer of the cluster is not JSON: {answer.out[:100]!r}") from error

    def _default_namespace(self) -> str:
        words = ["kubectl", "config", "view", "--minify", "--output=jsonpath={..namespace}"]
        answer = process.ask(words, env=self._environment, timeout=_ANSWERS_WITHIN)
        if answer.ok and answer.out:
            return answer.out
        inside = _NAMESPACE.is_file() and not answer.ok and not os.environ.get("KUBECONFIG")
        return _NAMESPACE.read_text(encoding="utf-8").strip() if inside else "default"


class _Questions:
    """Asks again and again in a thread, for the duration of a ``with`` block."""

    def __init__(self, cluster: Cluster, names: Sequence[str]) -> None:
        self._cluster, self._names = cluster, names
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Any:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(2 * _ANSWERS_WITHIN)

    def _run(self) -> None:
        while not self._ended.wait(_PAUSE):
            try:
                self._ask()
            except Unanswered as error:
                self._unanswered(error)

    def _ask(self) -> None:
        raise NotImplementedError

    def _unanswered(self, error: Unanswered) -> None:
        _log.debug("the cluster does not tell the state of %s: %s", ", ".join(self._names), error)


class Start(_Questions):
    """Watches pods that start.

    Args:
        cluster: Whom to ask.
        names: The Deployments that are needed. Each needs one pod that runs.

    Attributes:
        obstacle: Why they do not, as seen last.
        hopeless: Whether waiting is of no use.
        enough: Whether all that is needed runs, so that the build can begin.
    """

    obstacle: Obstacle | None = None
    hopeless = enough = False

    def __init__(self, cluster: Cluster, names: Sequence[str]) -> None:
        super().__init__(cluster, names)
        self._ran = False

    def look(self) -> Obstacle | None:
        """Returns why they do not start, asked now if nothing was seen yet."""
        if not self.obstacle:
            with suppress(Unanswered):
                self.obstacle = self._cluster.obstacle(self._names)
        return self.obstacle

    def _ask(self) -> None:
        before, self.obstacle = self.obstacle, self._cluster.obstacle(self._names)
        # Twice, because the first pod of a Deployment may come too early, for example before its service account.
        self.hopeless = bool(before and before.final and self.obstacle and self.obstacle.final)
        # Twice, because buildx mostly notices it by itself.
        ran, self._ran = self._ran, all(states.ready(self._cluster.pods([name])) for name in self._names)
        self.enough = ran and self._ran


class Build(_Questions):
    """Watches the pods of a build.

    Args:
        cluster: Whom to ask.
        names: The Deployments with which it builds.
        runs: Asks BuildKit whether it still runs the build; ``None`` if that is not known. It ends with its connection,
            which the cluster's API server passes on: a restart of it ends the build.

    Attributes:
        lost: Why the build cannot go on; empty as long as it can.
    """

    lost = ""

    def __init__(self, cluster: Cluster, names: Sequence[str], runs: Callable[[], bool | None]) -> None:
        super().__init__(cluster, names)
        self._runs = runs
        self._unknown = 0
        self._before: dict[str, Object] = {}
        self._gone: dict[str, str] = {}
        self._down = ""
        self._heard = time.monotonic()

    def heard(self) -> None:
        """Notes that BuildKit reported something, so that the build goes on."""
        self._heard = time.monotonic()
        self._down, self._unknown = "", 0

    def listening(self, listener: Callable[[Any], None]) -> Callable[[Any], None]:
        """Returns a listener that also notes that BuildKit reported something."""

        def heard(event: Any) -> None:
            self.heard()
            listener(event)

        return heard

    def look(self) -> str:
        """Returns what became of the pods that are gone, asked now; empty if none is."""
        with suppress(Unanswered):
            self._ask()
        return self.lost or "; ".join(self._gone.values())

    def _ask(self) -> None:
        now = self._cluster.pods(self._names)
        self._gone |= states.lost(self._before, now)
        alive = states.ready(now)
        alone = len({**self._before, **alive}) == 1 or not alive
        self._before = {uid: pod for uid, pod in {**self._before, **alive}.items() if uid not in self._gone}
        quiet = time.monotonic() - self._heard
        if self._gone and quiet > (_QUIET_ALONE if alone else _QUIET):
            self.lost = "; ".join(self._gone.values())
        elif quiet > _QUIET / 2 and self._runs() is False:
            self._unknown += 1
            if self._unknown >= _UNKNOWN:
                self.lost = "the connection to BuildKit ended, and with it the build"
        elif self._down and quiet > _QUIET:
            self.lost = f"the connection through the cluster's API server, which did not respond ({self._down})"

    def _unanswered(self, error: Unanswered) -> None:
        super()._unanswered(error)
        if error.unreachable:
            self._down = str(error)
