"""Names, options and descriptions of buildx builders."""

from __future__ import annotations

import csv
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ohbuild.docker import nodes
from ohbuild.docker.attributes import attributes
from ohbuild.docker.described import Described, Node, parse
from ohbuild.errors import UsageError
from ohbuild.images.platform import Platform, parse_platforms
from ohbuild.process import Answer

# Output of buildx 0.29.1 for a running builder with two Deployments, the first with two pods (labels omitted).
RUNNING = """\
Name:          kb
Driver:        kubernetes
Last Activity: 2026-11-22 03:14:58 +0000 UTC

Nodes:
Name:                  kb-amd64
Endpoint:              kubernetes:///kb?deployment=kb-amd64&kubeconfig=
Driver Options:        namespace="builds" nodeselector="a=b,x=y" env.A="say \\"hi\\" a=b" replicas="2"
Status:                running
BuildKit daemon flags: --allow-insecure-entitlement=network.host
BuildKit version:      v0.0.0+unknown
Platforms:             linux/amd64*, linux/amd64/v2, linux/386
Labels:
 org.mobyproject.buildkit.worker.executor:             containerd
GC Policy rule#0:
 All:            false

Name:                  kb-amd64
Endpoint:              kubernetes:///kb?deployment=kb-amd64&kubeconfig=
Driver Options:        replicas="2" nodeselector="a=b,x=y" namespace="builds" env.A="say \\"hi\\" a=b"
Status:                running
Platforms:             linux/amd64*

Name:                  kb-arm64
Endpoint:              kubernetes:///kb?deployment=kb-arm64&kubeconfig=
Driver Options:        namespace="builds"
Status:                running
Platforms:             linux/arm64*, linux/arm/v7
"""


def test_what_buildx_prints_is_read() -> None:
    amd64 = {"namespace": "builds", "nodeselector": "a=b,x=y", "env.A": 'say "hi" a=b', "replicas": "2"}
    nodes = [
        ("kb-amd64", ["amd64"], amd64, "kubernetes:///kb?deployment=kb-amd64&kubeconfig="),
        ("kb-arm64", ["arm64"], {"namespace": "builds"}, "kubernetes:///kb?deployment=kb-arm64&kubeconfig="),
    ]
    assert parse(RUNNING) == Described(
        name="kb",
        driver="kubernetes",
        nodes=tuple(
            Node(name=name, platforms=parse_platforms(words), options=options, endpoint=endpoint, status="running")
            for name, words, options, endpoint in nodes
        ),
    )


def test_a_builder_without_options_and_platforms_is_read() -> None:
    text = "Name:   mine\nDriver: remote\n\nNodes:\nName:     mine0\nEndpoint: tcp://x:1\nStatus:   inactive\n"
    node = Node(name="mine0", endpoint="tcp://x:1", status="inactive")
    assert parse(text) == Described(name="mine", driver="remote", nodes=(node,))


@pytest.mark.parametrize(
    "where", ["Error: no\n\nNodes:\nName: b0\n", "\nNodes:\nName: b0\nStatus: running\nError: no\n"]
)
def test_what_is_wrong_with_a_builder_or_a_node_is_read(where: str) -> None:
    assert parse(f"Name: b\nDriver: remote\n{where}").error == "no"


def test_a_builder_that_says_nothing_is_read() -> None:
    assert parse("") == Described(driver="", nodes=())


@pytest.mark.parametrize("name", ["a", "ohbuild", "ohbuild-kubernetes", "a" * 40, "0-1"])
def test_names(name: str) -> None:
    assert nodes.check_name(name) == name


@pytest.mark.parametrize("name", ["", "A", "a_b", "-a", "a-", "a" * 41, "a b", "a/b", "ä"])
def test_names_that_are_none(name: str) -> None:
    with pytest.raises(UsageError, match="invalid builder name"):
        nodes.check_name(name)


def test_a_node_s_name_fits_a_label_and_is_new_each_time() -> None:
    platforms = parse_platforms(["linux/amd64", "linux/ppc64le", "linux/s390x"])
    names = {nodes.node_name("a" * 40, platforms) for _ in range(50)}
    assert len(names) == 50
    assert max(map(len, names)) <= 63
    assert nodes.node_name("b", [Platform.parse("arm64")]).startswith("b-arm64-")


def test_limits_of_a_container() -> None:
    assert nodes.docker_container_options() == {}
    assert nodes.docker_container_options(
        memory="4g", memory_swap="-1", cpus=1.5, cpuset="0-1,3", image="b:1", network="host"
    ) == {
        "memory": "4g",
        "memory-swap": "-1",
        "cpu-period": "100000",
        "cpu-quota": "150000",
        "cpuset-cpus": "0-1,3",
        "image": "b:1",
        "network": "host",
    }


@pytest.mark.parametrize("memory", ["4g", "512m", "1.5GiB", "1073741824", "4 GB", "64K"])
def test_memory_as_docker_writes_it(memory: str) -> None:
    assert nodes.docker_container_options(memory=memory)["memory"] == memory


@pytest.mark.parametrize(
    "wrong",
    [
        {"memory": "much"},
        {"memory": "-4g"},
        {"memory": "4gg"},
        {"memory_swap": "4g"},
        {"cpus": -1},
        {"cpus": 0.001},
        {"cpus": float("nan")},
        {"cpus": float("inf")},
        {"cpuset": "all"},
        {"cpuset": "0-"},
    ],
)
def test_limits_that_are_none(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        nodes.docker_container_options(**wrong)


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=30))
def test_an_option_is_one_field_of_csv(value: str) -> None:
    assert list(csv.reader([attributes({"nodeselector": value})])) == [[f"nodeselector={value}"]]


@given(st.dictionaries(st.from_regex(r"\A[a-z.-]{1,12}\Z"), st.text('ab =,;"\\:/é', max_size=12), min_size=1))
def test_options_are_read_back(options: dict[str, str]) -> None:
    """buildx prints options with Go's %q, which equals JSON for these values."""
    printed = " ".join(f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in options.items())
    found = parse(f"Name: b\nDriver: d\n\nNodes:\nName: b0\nDriver Options: {printed}\n")
    assert found.nodes[0].options == options


def test_what_buildx_said_is_one_line() -> None:
    plain = 'ERROR: no builder "x" found\n'
    assert nodes.said(Answer(1, "", plain)) == 'no builder "x" found'
    removing = "failed to remove kb: the cluster is gone\nERROR: failed to remove one or more builders\n"
    assert nodes.said(Answer(1, "", removing)) == "failed to remove kb: the cluster is gone"
    assert nodes.said(Answer(3, "", "")) == "exit code 3"
    progress = "#1 booting\n#1 ERROR: a\nERROR: the reason\nmore\n"
    assert nodes.said(Answer(1, "", progress)) == "the reason"
