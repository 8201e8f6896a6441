"""Secrets in build arguments: what is certain is refused, what only may be one is a remark, as in BuildKit."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ohbuild.bake.facts import Facts
from ohbuild.bake.plan import make_plan, plan_notes
from ohbuild.bake.request import make_request
from ohbuild.builders.docker import DockerBuilder
from ohbuild.builders.errors import AgentRuntimeBuildError
from ohbuild.builders.request import check_build_arg, check_request
from ohbuild.components.arguments import check_argument
from ohbuild.components.secrets import looks_secret, secret_kind, secret_problem, secret_remark, secret_remarks
from ohbuild.config.sandbox import SandboxConfig
from ohbuild.config.settings import Settings, load
from ohbuild.docker.connection import Connection
from ohbuild.errors import NoEngine, UsageError
from tests.fakes import fake_components
from tests.plans import AMD64

TOKEN = "ghp_0123456789abcdefghijklmnopqrstuvwxyz"
CERTAIN = {
    "a GitHub token": [TOKEN, "gho_" + "aB3" * 12, "github_pat_" + "a1B" * 7 + "c_" + "x9" * 30, f"https://{TOKEN}@a.b"],
    "a GitLab token": ["glpat-abcdefghij0123456789"],
    "an AWS access key": ["AKIAIOSFODNN7EXAMPLE", "key=ASIAIOSFODNN7EXAMPLE;"],
    "an API key": ["sk-" + "a1B2" * 12, "sk-proj-" + "a1B2_" * 20, "sk-ant-api03-" + "Zy9-x8w7v6u5t4s3r2q1p0o9n8-7"],
    "an npm token": ["npm_" + "a1B2" * 9, f"//registry.npmjs.org/:_authToken=npm_{'a1B2' * 9}"],
    "a Slack token": ["xoxb-123456789012-abcdef"],
    "a private key": ["-----BEGIN RSA PRIVATE KEY-----", "-----BEGIN PRIVATE KEY-----",
                      "-----BEGIN OPENSSH PRIVATE KEY"],
    "a password": ["https://me:Ax7%3Fq@git.company.io/x", "postgres://app:tr0ub4dor@db.company.io:5432/x",
                   "a,https://u:p@h,amqp://svc:k3Ndl.9@8.8.8.8/"],
}  # fmt: skip
POSSIBLE = [
    ("APT_KEY_URL", "https://deb.example.com/key.asc"), ("DISABLE_AUTH", "1"), ("API_KEY", "x"), ("apikey", "x"),
    ("DATABASE_URL", "postgres://app:tr0ub4dor@localhost/db"), ("DATABASE_URL", "postgres://u:p@db/x"),
    ("DATABASE_URL", "postgres://app:tr0ub4dor@[::1]:5432/x"), ("DATABASE_URL", "postgres://a:tr0ub4dor@10.1.2.3/x"),
    ("URL", "https://me:password@git.company.io/x"), ("URL", "https://me:${PASSWORD}@git.company.io/x"),
    ("URL", "https://me:<token>@git.company.io"), ("URL", "https://me:***@git.company.io"),
    ("URL", "https://me:me@git.company.io"), ("URL", "https://me:tr0ub4dor@example.com/"),
    ("ANON", "eyJhbGciOiJIUzI1NiJ9.eyJyb2xlIjoiYW5vbiJ9.abc"), ("GITHUB_TOKEN", "ghp_xxx"), ("MY_TOKEN", "sk-1234"),
]  # fmt: skip
HARMLESS = [
    ("VERSION", "1"), ("API_KEY", ""), ("KEYBOARD", "de"), ("PUBLIC_KEY", "ssh"), ("KEY_FILE", "/x"),
    ("TOKENIZER", "x"),    ("AUTHOR", "me"), ("MONKEY", "x"), ("IMAGE", "disk-image-with-a-rather-long-name-in-it"),
    ("A", "task-aaaaaaaaaaaaaaaaaaaaaa"),
    ("HTTP_PROXY", "http://me:tr0ub4dor@proxy.company.io:3128"), ("URL", "https://me@git.company.io/x:y"),
    ("URL", "https://git.company.io:8443/@scope/name"), ("NPM", "npm_config_registry_of_this_company_and_others"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "value"), [(kind, value) for kind, values in CERTAIN.items() for value in values])
def test_what_is_certain_is_refused_with_its_kind_and_without_its_value(kind: str, value: str) -> None:
    assert secret_kind("A", value) == kind
    problem = secret_problem("A", value)
    assert problem is not None
    assert kind in problem[0]
    assert "readable in the image's history" in problem[0]
    assert value not in "".join(problem)
    assert not secret_remark("A", value)  # an error says it already, or it is allowed


@pytest.mark.parametrize(("name", "value"), POSSIBLE)
def test_what_is_only_possible_is_a_remark_without_its_value(name: str, value: str) -> None:
    assert secret_problem(name, value) is None
    remark = secret_remark(name, value)
    assert repr(name) in remark
    assert "--allow-secret-args" in remark
    assert len(value) < 3 or value not in remark


@pytest.mark.parametrize(("name", "value"), HARMLESS)
def test_what_is_no_secret(name: str, value: str) -> None:
    assert secret_problem(name, value) is None
    assert secret_remarks({name: value}) == []


@pytest.mark.parametrize("name", ["API_KEY", "token", "MY_SECRET", "DB_PASSWORD", "AUTH", "aws_credentials"])
def test_a_name_alone_is_never_refused(name: str) -> None:
    assert looks_secret(name)
    check_argument(name)
    assert load({"build_args": {name: "x"}}).settings.build_args == {name: "x"}
    check_build_arg(f"{name}=x")


@given(st.text(), st.text())
def test_any_text_is_looked_at(name: str, value: str) -> None:
    assert not (secret_problem(name, value) and secret_remark(name, value))


READ: dict[str, Callable[[bool], object]] = {
    "settings": lambda allow: load({"build_args": {"A": TOKEN}, "allow_secret_args": allow}),
    "builder": lambda allow: check_build_arg(f"A={TOKEN}", allow_secret_args=allow),
}


@pytest.mark.parametrize("way", READ)
def test_the_setting_allows_it(way: str) -> None:
    with pytest.raises(UsageError, match="'A' is a GitHub token") as caught:
        READ[way](False)
    assert TOKEN not in caught.value.message + caught.value.hint
    assert "allow_secret_args" in caught.value.hint
    READ[way](True)


def test_a_configuration_of_openhands_is_judged_with_the_settings() -> None:
    assert SandboxConfig.read({"build_args": {"A": TOKEN}}).wanted()["build_args"] == {"A": TOKEN}


def test_a_variable_allows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OHBUILD_BUILD_ARGS", f'{{"A": "{TOKEN}"}}')
    with pytest.raises(UsageError, match="OHBUILD_BUILD_ARGS: the value of the build argument 'A' is a GitHub token"):
        load()
    monkeypatch.setenv("OHBUILD_ALLOW_SECRET_ARGS", "true")
    assert load().settings.build_args == {"A": TOKEN}


def test_a_build_argument_from_the_environment_is_looked_at(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").touch()
    monkeypatch.setenv("A", TOKEN)
    with pytest.raises(UsageError, match="is a GitHub token"):
        check_build_arg("A")
    monkeypatch.setenv("A", "x")
    monkeypatch.setenv("MY_TOKEN", "x")
    request = check_request(tmp_path, ["x"], extra_build_args=["--build-arg", "A", "--build-arg=MY_TOKEN", "--pull"])
    assert request.build_args == [("A", "x"), ("MY_TOKEN", "x")]
    assert len(secret_remarks(request.build_args)) == 1


def test_the_builder_logs_what_is_possible(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "Dockerfile").touch()

    def nowhere() -> Connection:
        raise NoEngine("no engine in this test")

    for allow in (False, True):
        caplog.clear()
        builder = DockerBuilder(settings=Settings(allow_secret_args=allow), connect=nowhere)
        with caplog.at_level(logging.WARNING, "ohbuild.builders"), pytest.raises(AgentRuntimeBuildError):
            builder.build(str(tmp_path), ["x"], extra_build_args=["--build-arg=DISABLE_AUTH=1"])
        assert ("'DISABLE_AUTH' has the name of a secret" in caplog.text) is not allow


@pytest.mark.parametrize("allow", [False, True])
def test_a_run_has_the_remark(tmp_path: Path, allow: bool) -> None:
    core, *others = fake_components(tmp_path)
    known = [replace(core, args={"APT_KEY_URL": ""}), *others]
    values = {"bases": ["debian"], "build_args": {"APT_KEY_URL": "https://a.b/c"}, "allow_secret_args": allow}
    settings = Settings(**values)  # type: ignore[arg-type]
    plan = make_plan(make_request(settings, known, native=AMD64), Facts())
    assert (
        any("'APT_KEY_URL' has the name of a secret" in note for note in plan_notes(plan, settings, Facts()))
        is not allow
    )
