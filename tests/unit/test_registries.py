"""How a builder reaches registries: from ``docker info``, and from the files of a builder's nodes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ohbuild.docker.described import parse
from ohbuild.docker.registries import of_docker, of_nodes
from ohbuild.images.reference import ImageRef
from ohbuild.images.registry_config import Place, Registries, RegistryConfig, is_loopback, places, urls

# `docker buildx inspect` of buildx 0.29.
INSPECTED = """\
Name:          x
Driver:        docker-container

Nodes:
Name:                  x0
Endpoint:              unix:///var/run/docker.sock
Status:                inactive
BuildKit daemon flags: --allow-insecure-entitlement=network.host
File#buildkitd.toml:
 > debug = true
 > \n\
 > [registry]
 > \n\
 >   [registry."docker.io"]
 >     mirrors = ["mirror.example:5000/hub"]
 > \n\
 >   [registry."mirror.example:5000"]
 >     http = true
 > \n\
 >   [registry."private.example"]
 >     ca = ["/etc/buildkit/certs/private.example/ca.pem", "/elsewhere.pem"]
 >     insecure = true
 > \n\
File#certs/private.example/ca.pem:
 > -----BEGIN CERTIFICATE-----
 > Name: not a field
 > \n\

Name:     x1
Endpoint: unix:///var/run/docker.sock
Status:   running
File#buildkitd.toml:
 > [registry."docker.io"]
 >   mirrors = ["second.example"]
"""


def test_the_files_of_a_builders_nodes_are_read() -> None:
    found = parse(INSPECTED)
    assert [(node.name, node.status) for node in found.nodes] == [("x0", "inactive"), ("x1", "running")]
    assert found.nodes[0].files["buildkitd.toml"].startswith("debug = true\n\n[registry]\n")
    registries = of_nodes(found.nodes)
    assert registries.of("docker.io") == RegistryConfig(mirrors=("mirror.example:5000/hub",))
    assert registries.of("mirror.example:5000") == RegistryConfig(http=True)
    private = registries.of("private.example")
    assert private.insecure
    assert private.certificates == ("-----BEGIN CERTIFICATE-----\nName: not a field\n\n",)
    assert registries.of("other.example") == RegistryConfig()


@pytest.mark.parametrize("text", ["registry = 1", "[registry]\na = 2", "[", '[registry."a"]\nca = 3\nmirrors = 4'])
def test_a_configuration_that_buildkit_refuses_is_left_to_it(text: str) -> None:
    lines = "".join(f" > {line}\n" for line in text.splitlines())
    registries = of_nodes(parse(f"Name: x\n\nNodes:\nName: x0\nFile#buildkitd.toml:\n{lines}").nodes)
    assert registries.of("a").mirrors == ()


def test_dockers_own_configuration() -> None:
    registries = of_docker({
        "InsecureRegistryCIDRs": ["::1/128", "10.0.0.0/8"],
        "IndexConfigs": {"docker.io": {"Secure": True}, "plain.example:5000": {"Secure": False}, "odd": None},
        "Mirrors": ["https://mirror.example/"],
    })  # fmt: skip
    assert registries.of("docker.io").mirrors == ("https://mirror.example/",)
    assert registries.skips_verification("plain.example:5000")
    assert registries.skips_verification("10.1.2.3:5000")
    assert not registries.skips_verification("11.1.2.3:5000")
    assert not registries.skips_verification("registry.example")
    assert of_docker({}) == of_docker({"Mirrors": None, "IndexConfigs": None, "InsecureRegistryCIDRs": None})


def test_a_builders_own_configuration_counts_before_dockers() -> None:
    docker = Registries(
        {"docker.io": RegistryConfig(mirrors=("a",)), "b": RegistryConfig(insecure=True)}, ("10.0.0.0/8",)
    )
    both = docker.under(Registries({"docker.io": RegistryConfig(mirrors=("c",))}))
    assert both.of("docker.io").mirrors == ("c",)
    assert both.of("b").insecure
    assert both.of("10.0.0.1").insecure
    assert both.with_mirror("d").of("docker.io") == RegistryConfig(mirrors=("d",))


@pytest.mark.parametrize(
    ("host", "config", "expected"),
    [
        ("a.b", RegistryConfig(), ["https"]),
        ("a.b", RegistryConfig(http=True), ["http", "https"]),
        ("a.b", RegistryConfig(insecure=True), ["https", "http"]),
        ("localhost:5000", RegistryConfig(), ["http", "https"]),
        ("[::1]:5000", RegistryConfig(insecure=True), ["http", "https"]),
    ],
)
def test_urls(host: str, config: RegistryConfig, expected: list[str]) -> None:
    found = urls(host, Registries({host: config}))
    assert list(found) == [f"{scheme}://{host}" for scheme in expected]


def test_places() -> None:
    registries = Registries({"docker.io": RegistryConfig(mirrors=("m.example/hub/", "http://n.example:1"))})
    assert places(ImageRef.parse("debian"), registries) == [
        Place("m.example", ("https://m.example",), "hub/library/debian"),
        Place("n.example:1", ("http://n.example:1",), "library/debian"),
        Place("registry-1.docker.io", ("https://registry-1.docker.io",), "library/debian"),
    ]
    assert [place.host for place in places(ImageRef.parse("a.b/c"), registries)] == ["a.b"]


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("localhost", True),
        ("localhost:5000", True),
        ("127.0.0.1:5000", True),
        ("127.8.9.1", True),
        ("[::1]:5000", True),
        ("[::1]", True),
        ("::1", True),
        ("ghcr.io", False),
        ("10.0.0.1:5000", False),
        ("localhost.example", False),
    ],
)
def test_loopback(name: str, *, answer: bool) -> None:
    assert is_loopback(name) is answer


@given(st.text())
def test_no_description_breaks_the_parser(text: str) -> None:
    parse(f"Name: x\n\nNodes:\n{text}")
    of_nodes(parse(f"Nodes:\nName: a\nFile#buildkitd.toml:\n > {text}").nodes)
