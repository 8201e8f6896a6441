"""Errors of a builder become an AgentRuntimeBuildError with a category."""

from __future__ import annotations

import pickle
import sys
import types

import pytest

from ohbuild import errors
from ohbuild.builders.errors import AgentRuntimeBuildError, Category, build_error, category_of, translate, translated


@pytest.mark.parametrize(
    ("error", "category"),
    [
        (errors.UsageError("x"), Category.CONTEXT),
        (errors.InvalidReference("x"), Category.CONTEXT),
        (errors.ImageNotFound("x"), Category.CONTEXT),
        (errors.InvalidDockerfile("x"), Category.CONTEXT),
        (errors.DiskFull("x"), Category.RESOURCE),
        (errors.OutOfMemory("x"), Category.RESOURCE),
        (errors.NoEngine("the builder does not respond: connection refused"), Category.NETWORK),
        (errors.NoEngine("permission denied while trying to connect"), Category.PERMISSION),
        (errors.RegistryError("x"), Category.NETWORK),
        (errors.RegistryRefused("x"), Category.PERMISSION),
        (errors.BuildFailed("x"), Category.BUILD),
        (errors.AuditFailed("x"), Category.BUILD),
        (errors.Interrupted("x"), Category.CANCELLED),
        (errors.SeveralErrors("x", [errors.RegistryRefused("y"), errors.UsageError("z")]), Category.PERMISSION),
    ],
)
def test_categories(error: errors.OhbuildError, category: Category) -> None:
    assert category_of(error) is category
    assert translate(error).category is category


def test_every_error_of_ohbuild_has_a_category_by_its_kind() -> None:
    """Without a category of its own, a new kind would count as a failed step."""
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.OhbuildError)]
    build = {errors.OhbuildError, errors.BuildFailed, errors.AuditFailed, errors.SeveralErrors}
    found = {kind for kind in kinds if kind is errors.SeveralErrors or category_of(kind("x")) is Category.BUILD}
    assert found == build


def test_step_line_and_log_come_along() -> None:
    made = translate(
        errors.BuildFailed(
            "it failed", "fix it", step="[2/2] RUN x", place=errors.Place("Dockerfile", 2), log=["a", "b"]
        )
    )
    assert (made.step, made.where, made.log, made.hint) == ("[2/2] RUN x", "Dockerfile:2", ("a", "b"), "fix it")
    assert str(made) == "it failed\n  at: Dockerfile:2\n  | a\n  | b\n  fix it"


def test_several_become_one_that_tells_all() -> None:
    made = translate(errors.SeveralErrors("not started", [errors.UsageError("a", "b"), errors.UsageError("c", "d")]))
    assert made.message == "not started: a; c"
    assert made.hint == "b; d"


@pytest.mark.parametrize(
    ("raised", "category"),
    [
        (errors.UsageError("x"), Category.CONTEXT),
        (KeyboardInterrupt(), Category.CANCELLED),
        (PermissionError(13, "no", "/x"), Category.PERMISSION),
        (OSError(28, "No space left on device"), Category.RESOURCE),
        (ZeroDivisionError("x"), Category.BUILD),
    ],
)
def test_nothing_else_escapes(raised: BaseException, category: Category) -> None:
    with pytest.raises(AgentRuntimeBuildError) as caught, translated("the build"):
        raise raised
    assert caught.value.category is category
    assert caught.value.__cause__ is raised


def test_it_is_one_of_openhands_own_where_that_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    class Theirs(Exception):
        pass

    module = types.ModuleType("openhands.core.exceptions")
    module.AgentRuntimeBuildError = Theirs  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "openhands.core.exceptions", module)
    with pytest.raises(Theirs) as caught:
        raise build_error("x", Category.NETWORK, log=["a"])
    assert isinstance(caught.value, AgentRuntimeBuildError)
    again = pickle.loads(pickle.dumps(caught.value))
    assert isinstance(again, Theirs)
    assert isinstance(again, AgentRuntimeBuildError)
    assert (again.message, again.category, again.log) == ("x", Category.NETWORK, ("a",))
