"""A test double of a Kubernetes API server, limited to what buildx's ``kubernetes`` driver uses.

It is a real HTTP server. It checks the token, stores created objects, lists pods for each Deployment, and connects
``exec`` of ``buildctl dial-stdio`` to the real BuildKit of a Docker Engine. There is no scheduler, no kubelet and no
container, so it does not show whether a cluster would accept and run these objects.
"""

from __future__ import annotations

import base64
import json
import re
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.engine.bridge import buildkit
from tests.engine.kubernetes_protobuf import MAGIC, decode
from tests.engine.spdy import Exec

TOKEN = "the-token-of-the-test"
_PATH = re.compile(
    r"/(?:api/v1|apis/apps/v1)/namespaces/(?P<namespace>[^/]+)/(?P<kind>deployments|configmaps|pods)"
    r"(?:/(?P<name>[^/]+)(?:/(?P<sub>exec))?)?"
)
_REASONS = {401: "Unauthorized", 403: "Forbidden", 404: "NotFound", 409: "AlreadyExists", 500: "InternalError"}


@dataclass(frozen=True)
class Call:
    """A request, such as ``POST deployments``, with the object in its body."""

    verb: str
    kind: str
    name: str
    namespace: str
    query: dict[str, list[str]] = field(default_factory=dict)
    body: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return " ".join(word for word in (self.verb, self.kind, self.name) if word)


class Cluster:
    """The state of the double, and the requests it received.

    Args:
        docker_socket: Socket of the engine whose BuildKit serves as every pod.
        others: Sockets of engines that serve as the pods of a platform instead, by the annotation of the Deployment.

    Attributes:
        calls: All requests, in order.
        objects: Objects by namespace, kind (plural) and name.
        ready: Whether pods become ready.
        room: Number of pods of a Deployment that become ready.
        without: Part of the names of Deployments whose pods do not become ready; empty for none.
        waiting: Fields of the status of pods that do not become ready, such as ``conditions``.
        not_created: Message with which the cluster refuses to create pods; empty if it does not.
        answers: Cleared while the server accepts requests and does not answer.
        refuse: Status code and message to respond with, by verb and kind (``POST deployments``).
    """

    def __init__(self, docker_socket: Path, others: Mapping[str, Path]) -> None:
        self.docker_socket, self.others = docker_socket, others
        self.calls: list[Call] = []
        self.objects: dict[tuple[str, str, str], dict[str, Any]] = {}
        self.ready = True
        self.room, self.without = 99, ""
        self.waiting: dict[str, Any] = {}
        self.not_created = ""
        self.answers = threading.Event()
        self.answers.set()
        self.ended: list[dict[str, Any]] = []
        self.generation = 0
        self.streams: list[Exec] = []
        self.refuse: dict[str, tuple[int, str]] = {}
        self.lock = threading.Lock()

    def deployments(self) -> dict[str, dict[str, Any]]:
        """Returns the Deployments by name."""
        return {name: value for (_, kind, name), value in self.objects.items() if kind == "deployments"}

    def buildkit(self, namespace: str, pod: str) -> socket.socket:
        """Opens a connection to the BuildKit that serves as a pod."""
        metadata = next(item["metadata"] for item in self.pods(namespace, "") if item["metadata"]["name"] == pod)
        platform = metadata.get("annotations", {}).get("buildx.docker.com/platform", "")
        return buildkit(self.others.get(platform, self.docker_socket))

    def made(self, verb: str, kind: str) -> list[Call]:
        """Returns the calls with a verb and a kind."""
        return [call for call in self.calls if (call.verb, call.kind) == (verb, kind)]

    def comes(self, name: str) -> int:
        """Returns how many pods of a Deployment become ready."""
        missing = not self.ready or self.not_created or (self.without and self.without in name)
        return 0 if missing else self.room

    def end_pods(self, state: dict[str, Any] | None = None, *, streams: str = "closed") -> None:
        """Ends all pods; new ones take their place, with other names.

        Args:
            state: Status of the ended pods, which then remain; by default they are deleted.
            streams: What becomes of their connections: ``closed``, or ``silent``, which stay open without data.
        """
        if state is not None:
            namespaces = {namespace for namespace, kind, _ in self.objects if kind == "deployments"}
            self.ended += [{**pod, "status": state} for namespace in namespaces for pod in self.pods(namespace, "")]
        self.generation += 1
        self.end_streams(streams)

    def end_streams(self, streams: str) -> None:
        """Ends the connections to all pods; see ``end_pods``."""
        for stream in self.streams:
            stream.end(silent=streams == "silent")
        self.streams.clear()

    def pods(self, namespace: str, selector: str) -> list[dict[str, Any]]:
        """Returns the pods of a namespace's Deployments whose labels match ``a=b,c=d``, or ``a in (b,c)``."""
        if several := re.fullmatch(r"(\w+) in \((.*)\)", selector):
            return [pod for value in several[2].split(",") for pod in self.pods(namespace, f"{several[1]}={value}")]
        wanted = dict(pair.split("=", 1) for pair in selector.split(",") if pair)
        found = [pod for pod in self.ended if wanted.items() <= pod["metadata"].get("labels", {}).items()]
        if self.not_created:
            return found
        for (where, kind, name), deployment in self.objects.items():
            template = deployment.get("spec", {}).get("template", {})
            labels = template.get("metadata", {}).get("labels", {})
            if (where, kind) != (namespace, "deployments") or not wanted.items() <= labels.items():
                continue
            for number in range(deployment["spec"].get("replicas", 0)):
                own = f"{name}-pod-{number}-{self.generation}" if self.generation else f"{name}-pod-{number}"
                metadata = {**template["metadata"], "name": own, "uid": f"uid-{own}", "namespace": namespace}
                status = {"phase": "Running"} if number < self.comes(name) else {"phase": "Pending", **self.waiting}
                found.append({"metadata": metadata, "spec": template["spec"], "status": status})
        return found


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    cluster: Cluster  # set in the subclass that `serve` creates

    def log_message(self, format: str, *args: object) -> None:
        """Does nothing, because ``Cluster.calls`` is the log."""

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def do_DELETE(self) -> None:
        self._answer()

    def _answer(self) -> None:
        url = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        match = _PATH.fullmatch(url.path)
        if match is None:
            self._status(404, url.path)
            return
        namespace, kind, name, sub = match["namespace"], match["kind"], match["name"] or "", match["sub"]
        content = decode(body) if body.startswith(MAGIC) else json.loads(body or b"{}")
        verb = "EXEC" if sub else str(self.command)
        call = Call(verb, kind, name, namespace, parse_qs(url.query), content)
        with self.cluster.lock:
            self.cluster.calls.append(call)
        self.cluster.answers.wait(120)
        refused = self.cluster.refuse.get(f"{verb} {kind}")
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._status(401, "Unauthorized")
        elif refused:
            self._status(*refused)
        elif sub:
            self._exec(self.cluster.buildkit(namespace, name))
        elif kind == "pods":
            selector = "".join(call.query.get("labelSelector", []))
            self._json(200, {"kind": "PodList", "apiVersion": "v1", "items": self.cluster.pods(namespace, selector)})
        else:
            self._object(call)

    def _object(self, call: Call) -> None:
        name = call.name or call.body.get("metadata", {}).get("name", "")
        key = (call.namespace, call.kind, name)
        with self.cluster.lock:
            there = self.cluster.objects.get(key)
            if call.verb == "POST" and there is not None:
                self._status(409, f'{call.kind} "{name}" already exists')
            elif call.verb != "POST" and there is None:
                self._status(404, f'{call.kind} "{name}" not found')
            elif call.verb == "DELETE":
                del self.cluster.objects[key]
                self._json(200, {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"})
            else:
                if call.verb in ("POST", "PUT"):
                    there = self.cluster.objects[key] = call.body
                assert there is not None
                replicas = there.get("spec", {}).get("replicas", 0)
                status: dict[str, Any] = {"readyReplicas": min(replicas, self.cluster.comes(name))}
                if message := self.cluster.not_created:
                    failed = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": message}
                    status["conditions"] = [failed]
                status = {"status": status} if call.kind == "deployments" else {}
                self._json(201 if call.verb == "POST" else 200, {**there, **status})

    def _exec(self, command: socket.socket) -> None:
        self.send_response(101)
        self.send_header("Connection", "Upgrade")
        self.send_header("Upgrade", "SPDY/3.1")
        self.send_header("X-Stream-Protocol-Version", "v4.channel.k8s.io")
        self.end_headers()
        self.close_connection = True
        stream = Exec(self.rfile, self.wfile, self.connection, command)
        self.cluster.streams.append(stream)
        stream.run()

    def _status(self, code: int, message: str) -> None:
        status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
        self._json(code, {**status, "message": message, "reason": _REASONS[code], "code": code})

    def _json(self, code: int, content: dict[str, Any]) -> None:
        data = json.dumps(content).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@contextmanager
def serve(docker_socket: Path, folder: Path, others: Mapping[str, Path] | None = None) -> Iterator[Cluster]:
    """Runs the double on loopback within the context. It uses HTTPS, because client-go sends no token otherwise.

    Args:
        docker_socket: See ``Cluster``.
        folder: Folder for the ``kubeconfig`` of the double.
        others: See ``Cluster``.
    """
    cluster = Cluster(docker_socket, others or {})
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate, key = folder / "api.crt", folder / "api.key"
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=double"]
    words += ["-addext", "subjectAltName=IP:127.0.0.1", "-out", str(certificate), "-keyout", str(key)]
    subprocess.run(words, check=True, capture_output=True)
    context.load_cert_chain(certificate, key)
    server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"cluster": cluster}))
    server.context = context
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    kubeconfig = folder / "kubeconfig"
    kubeconfig.write_text(json.dumps(_config(f"https://127.0.0.1:{server.server_port}", certificate)))  # JSON is YAML
    kubeconfig.chmod(0o600)
    try:
        yield cluster
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Server(ThreadingHTTPServer):
    """Does the TLS handshake in the connection's thread, and ignores clients that disconnect."""

    daemon_threads = True
    context: ssl.SSLContext

    def finish_request(self, request: Any, client_address: Any) -> None:
        with suppress(OSError), self.context.wrap_socket(request, server_side=True) as secured:
            super().finish_request(secured, client_address)


def _config(address: str, certificate: Path) -> dict[str, Any]:
    """Returns a kubeconfig with two contexts, of which only ``test``, the current one, is usable."""
    authority = base64.b64encode(certificate.read_bytes()).decode()
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": "double", "cluster": {"server": address, "certificate-authority-data": authority}},
            {"name": "nowhere", "cluster": {"server": "https://127.0.0.1:1"}},
        ],
        "users": [{"name": "tester", "user": {"token": TOKEN}}],
        "contexts": [
            {"name": "test", "context": {"cluster": "double", "user": "tester", "namespace": "builds"}},
            {"name": "elsewhere", "context": {"cluster": "nowhere", "user": "tester"}},
        ],
        "current-context": "test",
    }
