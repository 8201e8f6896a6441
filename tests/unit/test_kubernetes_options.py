"""Options for Kubernetes: validated before the cluster is contacted, and formatted as buildx parses them."""

from __future__ import annotations

from contextlib import suppress
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ohbuild.builders import AgentRuntimeBuildError, Category
from ohbuild.builders.kubernetes import KubernetesBuilder, explained, read_options
from ohbuild.config.kubernetes import KubernetesOptions, Toleration, amount
from ohbuild.config.settings import Settings
from ohbuild.errors import NoEngine, OhbuildError, SeveralErrors


def driver_options(**options: Any) -> dict[str, str]:
    """Returns the driver options of the only node."""
    ((platforms, found),) = read_options(options).node_options()
    assert platforms == ()
    return found


def refusal(**options: Any) -> OhbuildError:
    """Returns the error that the options cause."""
    with pytest.raises(OhbuildError) as caught:
        read_options(options)
    return caught.value


def test_nothing_said_is_nothing_passed() -> None:
    """Keeps buildx's defaults, so that an existing builder need not match ours."""
    assert driver_options() == {}
    assert driver_options(rootless=False, qemu=False, replicas=1, load_balance="sticky", timeout=120) == {}


def test_every_option_has_buildx_s_name() -> None:
    assert driver_options(
        namespace="builds",
        image="registry.example/buildkit:1",
        replicas=3,
        requests={"cpu": "500m", "memory": "1Gi", "ephemeral_storage": "5G"},
        limits={"cpu": 2.5, "memory": "4Gi", "ephemeral_storage": "10G"},
        node_selector={"b/c": "d", "a": "e"},
        tolerations=[{"operator": "Exists"}, {"key": "k", "value": "v", "effect": "NoExecute", "seconds": 0}],
        annotations={"x": "y z"},
        labels={"team": "a"},
        service_account="builder",
        scheduler="own",
        rootless=True,
        qemu=True,
        qemu_image="binfmt:1",
        root_volume_memory="1Gi",
        env={"A": "b,c=d"},
        load_balance="random",
        timeout=300,
    ) == {
        "namespace": "builds",
        "image": "registry.example/buildkit:1",
        "replicas": "3",
        "requests.cpu": "500m",
        "requests.memory": "1Gi",
        "requests.ephemeral-storage": "5G",
        "limits.cpu": "2.5",
        "limits.memory": "4Gi",
        "limits.ephemeral-storage": "10G",
        "nodeselector": "a=e,b/c=d",
        "tolerations": "operator=Exists;key=k,operator=Equal,value=v,effect=NoExecute,tolerationSeconds=0",
        "annotations": "x=y z",
        "labels": "team=a",
        "serviceaccount": "builder",
        "schedulername": "own",
        "rootless": "true",
        "qemu.install": "true",
        "qemu.image": "binfmt:1",
        "buildkit-root-volume-memory": "1Gi",
        "env.A": "b,c=d",
        "loadbalance": "random",
        "timeout": "300s",
    }


def test_each_platform_has_a_node_of_its_own_on_its_own_machines() -> None:
    options = read_options(
        {
            "limits": {"memory": "4Gi"},
            "node_selector": {"pool": "builds"},
            "platforms": {
                "linux/amd64": {},
                "arm64": {"limits": {"memory": "8Gi"}, "node_selector": {"pool": "arm"}, "replicas": 2},
                "linux/s390x,linux/ppc64le": {"qemu": True},
                "linux/riscv64": {"node_selector": {"kubernetes.io/arch": "amd64"}},
            },
        }
    )
    found = {",".join(map(str, platforms)): given for platforms, given in options.node_options()}
    assert found == {
        "linux/amd64": {"limits.memory": "4Gi", "nodeselector": "kubernetes.io/arch=amd64,pool=builds"},
        "linux/arm64": {
            "limits.memory": "8Gi",
            "replicas": "2",
            "nodeselector": "kubernetes.io/arch=arm64,pool=arm",
        },
        "linux/s390x,linux/ppc64le": {"limits.memory": "4Gi", "qemu.install": "true", "nodeselector": "pool=builds"},
        "linux/riscv64": {"limits.memory": "4Gi", "nodeselector": "kubernetes.io/arch=amd64"},
    }


@pytest.mark.parametrize(
    ("options", "message", "hint"),
    [
        ({"limits": {"memory": "8GB"}}, "kubernetes.limits.memory: '8GB' is not a quantity", "perhaps you meant '8G'"),
        ({"limits": {"memory": "8gi"}}, "'8gi' is not a quantity", "perhaps you meant '8Gi'"),
        ({"limits": {"memory": "500m"}}, "less than a megabyte", "thousandths"),
        ({"limits": {"memory": "-1Gi"}}, "'-1Gi' is not a quantity", "2, 500m, 4Gi"),
        ({"limits": {"cpu": "4Gi"}}, "'4Gi' is not a valid number of processors", "500m for half of one"),
        ({"limits": {"cpu": "0"}}, "'0' is not a valid number of processors", "500m"),
        ({"requests": {"cpu": "half"}}, "'half' is not a quantity", "500m"),
        ({"requests": {"cpu": 2}, "limits": {"cpu": "1500m"}}, "requests.cpu 2 exceeds limits.cpu 1500m", "less"),
        ({"limits": {"cpus": 2}}, "unknown key 'cpus'", "perhaps you meant 'cpu'"),
        ({"node_selectors": {}}, "unknown key 'node_selectors'", "perhaps you meant 'node_selector'"),
        ({"namespace": "My_Builds"}, "'My_Builds' is not a valid namespace", "lowercase letters"),
        ({"namespace": "a" * 64}, "is not a valid namespace", "63"),
        ({"service_account": "Builder"}, "'Builder' is not a valid Kubernetes name", "lowercase letters"),
        ({"node_selector": {"pool": "a b"}}, "'a b' is not a valid label value", "letters"),
        ({"node_selector": {"pool": "a,b=c"}}, "'a,b=c' is not a valid label value", "letters"),
        ({"node_selector": {"/pool": "a"}}, "'/pool' is not a valid key", "example.com/name"),
        ({"annotations": {"a": "b,c"}}, "buildx cannot pass on 'b,c'", "remove ','"),
        ({"annotations": {"buildx.docker.com/platform": "x"}}, "is reserved by buildx", "another"),
        ({"labels": {"app": "x"}}, "labels: 'app' is reserved by buildx", "another"),
        (
            {"tolerations": [{"key": "k", "operator": "Exists", "value": "v"}]},
            "with 'Exists' has the value 'v'",
            "Equal",
        ),
        ({"tolerations": [{"value": "v"}]}, "has no key", "Exists"),
        ({"tolerations": [{"key": "k", "seconds": 5}]}, "without the effect 'NoExecute'", "set this"),
        ({"image": "Upper/Case:1"}, "image", ""),
        ({"replicas": 0}, "replicas", ""),
        ({"timeout": 0}, "timeout", ""),
        ({"load_balance": "fair"}, "load_balance", ""),
        ({"env": {"A-B": "c"}}, "env", ""),
        ({"env": {"A": "b\nc"}}, "control character, which buildx", "remove it"),
        ({"platforms": {"linux/arm46": {}}}, "unknown architecture 'arm46'", "arm64"),
        ({"platforms": {"linux/arm64": {}, "arm64": {}}}, "'arm64' is empty or has a platform of another node", "once"),
        ({"platforms": {"": {}}}, "'' is empty or has a platform of another node", "once"),
        ({"platforms": {"arm64": {"namespace": "x"}}}, "unknown key 'namespace'", ""),
        ({"limits": {"cpu": 2}, "platforms": {"arm64": {"requests": {"cpu": 3}}}}, "exceeds limits.cpu", "less"),
    ],
)
def test_what_is_wrong_is_told_before_anything_starts(options: dict[str, Any], message: str, hint: str) -> None:
    error = refusal(**options)
    assert message in error.message
    assert hint in error.hint


def test_all_that_is_wrong_is_told_at_once() -> None:
    error = refusal(limits={"cpu": "x", "memory": "y"}, namespace="Z")
    assert isinstance(error, SeveralErrors)
    assert len(error.errors) == 3


@given(
    st.decimals(min_value=1, max_value=10**6, places=3), st.sampled_from(["", "k", "M", "G", "Ki", "Mi", "Gi", "Ti"])
)
def test_a_quantity_is_what_it_says(number: Decimal, suffix: str) -> None:
    factor = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}[suffix]
    assert amount(f"{number}{suffix}") == number * factor


def test_quantities_of_other_forms() -> None:
    assert amount("500m") == Decimal("0.5")
    assert amount("1e3") == amount("1E3") == amount("1k") == 1000
    assert amount("1E") == 10**18
    assert amount(".5") == Decimal("0.5")
    assert amount("2.") == 2


@given(st.text(max_size=12))
def test_any_text_is_a_quantity_or_refused(text: str) -> None:
    with suppress(ValueError):
        assert amount(text) >= 0


LABELS = st.dictionaries(
    st.from_regex(r"\A([a-z]{1,5}\.[a-z]{1,3}/)?[A-Za-z][A-Za-z0-9._-]{0,10}[A-Za-z0-9]\Z"),
    st.from_regex(r"\A[A-Za-z0-9]([A-Za-z0-9._-]{0,10}[A-Za-z0-9])?\Z"),
    min_size=1,
)


@given(LABELS)
def test_labels_survive_buildx_s_splitting(labels: dict[str, str]) -> None:
    """buildx splits at commas, then at '=', and expects two parts (factory.go, splitMultiValues)."""
    options = KubernetesOptions(node_selector=labels)
    ((_, found),) = options.node_options()
    assert dict(pair.split("=") for pair in found["nodeselector"].split(",")) == labels


@given(st.sampled_from(["", "NoSchedule", "NoExecute"]), st.sampled_from(["Exists", "Equal"]))
def test_tolerations_survive_buildx_s_splitting(effect: str, operator: str) -> None:
    toleration = Toleration.model_validate({"key": "a.b/c", "operator": operator, "effect": effect})
    read = dict(pair.split("=") for pair in str(toleration).split(","))
    assert read == {"key": "a.b/c", "operator": operator, **({"effect": effect} if effect else {})}


def test_a_builder_is_not_made_of_wrong_options() -> None:
    with pytest.raises(AgentRuntimeBuildError) as caught:
        KubernetesBuilder(options={"limits": {"memory": "8GB"}}, settings=Settings.model_validate({}))
    assert caught.value.category is Category.CONTEXT
    with pytest.raises(AgentRuntimeBuildError, match="invalid builder name"):
        KubernetesBuilder(builder="No_Name", settings=Settings.model_validate({}))


def test_a_builder_pushes_unless_told_otherwise() -> None:
    builder = KubernetesBuilder(settings=Settings.model_validate({}))
    assert (builder.push, builder.load, builder.settings.builder) == (True, False, "ohbuild-kubernetes")


def test_a_builder_takes_its_options_from_the_settings() -> None:
    settings = Settings.model_validate({"kubernetes": {"namespace": "builds"}, "builder": "team"})
    builder = KubernetesBuilder(settings=settings)
    assert (builder.options.namespace, builder.settings.builder) == ("builds", "team")


def test_what_is_shown_is_what_was_said() -> None:
    said: dict[str, Any] = {"namespace": "builds", "limits": {"memory": "8Gi"}, "platforms": {"linux/arm64": {}}}
    assert read_options(said).model_dump(mode="json") == said
    assert read_options({}).model_dump() == {}


@pytest.mark.parametrize(
    ("said", "category"),
    [
        ("expected 2 replicas to be ready, got 0", Category.RESOURCE),
        ('deployments.apps "a" is forbidden: exceeded quota: small', Category.RESOURCE),
        ('deployments.apps is forbidden: User "a" cannot create', Category.PERMISSION),
        ("error for bootstrap: Unauthorized", Category.PERMISSION),
        ("the server has asked for the client to provide credentials", Category.PERMISSION),
        ("tls: failed to verify certificate: x509: certificate has expired or is not yet valid", Category.CONTEXT),
        ("tls: failed to verify certificate: x509: certificate signed by unknown authority", Category.CONTEXT),
        ("getting credentials: exec: executable aws not found", Category.CONTEXT),
        ("invalid configuration: no configuration has been provided", Category.CONTEXT),
        ('namespaces "nowhere" not found', Category.CONTEXT),
        ("dial tcp 127.0.0.1:6443: connect: connection refused", Category.NETWORK),
        ("no response within 180 s", Category.NETWORK),
    ],
)
def test_what_the_cluster_says_has_a_category(said: str, category: Category) -> None:
    error = explained(NoEngine(f"builder 'b' does not start: {said}"), ["b-1"])
    assert error.category is category
    assert error.hint
    assert ("grant" in error.hint) == ("forbidden" in said and "quota" not in said), "other credentials have all rights"


def test_the_hint_names_all_nodes() -> None:
    error = NoEngine("1 replicas to be ready")
    assert "-l app=b-1 -n team" in explained(error, ["b-1"], " -n team").hint
    assert "-l 'app in (b-1, b-2)'" in explained(error, ["b-1", "b-2"]).hint
