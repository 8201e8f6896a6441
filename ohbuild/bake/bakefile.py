"""The targets of a plan as attributes for docker-bake.hcl. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from ohbuild.bake import layouts
from ohbuild.bake.hcl import Expression, attributes, line, quote
from ohbuild.bake.model import KEY_DIGITS, Base, ComponentImage, Output, Plan, Store, Target
from ohbuild.bake.request import CONTEXT_PREFIX
from ohbuild.images import labels as label

CA_FILE = "ca.crt"
_OCI = "org.opencontainers.image."
_VARIABLES = {
    "SOURCE_DATE_EPOCH": "Timestamp of everything in the images, in seconds since 1970",
    "CA_BUNDLE": "CA certificates for steps that download (a build secret, not part of any layer)",
    "BUILD_IMAGE": "Image in which components are built",
    "DEBIAN_SNAPSHOT": "Dated Debian archive for packages that the regular one no longer has",
    "OHBUILD_VERSION": "Version in the labels",
    "COMPONENT_REPOSITORY": "Repository of the component images and the assembly cache",
    "DEPS_REPOSITORY": "Repository of the deps image",
    "RUNTIME_REPOSITORY": "Repository of the runtime images",
}


class BakeFile:
    """Prepares the variables of the bake template.

    Args:
        plan: The plan.
        keys: Keys of the content by bake target.
        labels: Labels shared by deps and runtimes.
        has_ca: Whether the folder has CA certificates.
    """

    def __init__(self, plan: Plan, keys: Mapping[str, str], labels: Mapping[str, str], *, has_ca: bool):
        self.plan, self.keys, self.labels, self.has_ca = plan, keys, labels, has_ca
        values = {
            "SOURCE_DATE_EPOCH": str(plan.source_date_epoch),
            "CA_BUNDLE": CA_FILE if has_ca else "",
            "BUILD_IMAGE": str(plan.build_image) if plan.missing else "",
            "DEBIAN_SNAPSHOT": plan.debian_snapshot if plan.missing else "",
            "OHBUILD_VERSION": plan.version,
            "COMPONENT_REPOSITORY": plan.images[0].image.repository if plan.images else "",
            "DEPS_REPOSITORY": plan.deps.repository.repository if plan.deps else "",
            "RUNTIME_REPOSITORY": plan.runtimes[0].repository.repository if plan.runtimes else "",
        }
        self.inputs = {name: value for name, value in values.items() if value}

    def variables(self) -> dict[str, Any]:
        """Returns the variables of the template."""
        plan = self.plan
        return {
            "version": plan.version,
            "variables": [
                {"name": name, "description": _VARIABLES[name], "default": value} for name, value in self.inputs.items()
            ],
            "attributes": attributes,
            "line": line,
            "common": self._common(),
            "components": self._component_rows(),
            "component": self._component(),
            "assembly": self._assembly() if plan.targets else None,
            "deps": self._deps(plan.deps) if plan.deps else None,
            "runtimes": [self._runtime_row(target) for target in plan.runtimes],
            "runtime": self._runtime() if plan.runtimes else None,
        }

    def _common(self) -> dict[str, object]:
        off = {"type": "provenance", "disabled": True}
        return {
            "context": "context",
            "args": {"SOURCE_DATE_EPOCH": Expression("SOURCE_DATE_EPOCH")},
            "attest": [{"type": "provenance", "mode": "max"} if self.plan.provenance else off],
            # Every target supplies the secret, because BuildKit may run a shared step in the session of any of them.
            "secret": [{"type": "file", "id": "ca", "src": Expression("CA_BUNDLE")}] if self.has_ca else [],
        }

    # --- component images

    def _component_rows(self) -> list[dict[str, object]]:
        missing = self.plan.missing
        needed = self.plan.stages.built_with() if missing else {}
        return [self._component_row(item, needed[item.component]) for item in missing]

    def _component_row(self, item: ComponentImage, needed: tuple[str, ...]) -> dict[str, object]:
        ready = [other for other in self.plan.images if other.exists and other.platform == item.platform]
        return {
            "name": item.component,
            "platform": str(item.platform),
            "arch": item.platform.word,
            "tag": item.image.tag,
            "contexts": {other.component: self._context(other) for other in ready if other.component in needed},
        }

    def _component(self) -> dict[str, object]:
        plan = self.plan
        cache = {"type": "registry", "ref": _text(plan.component_cache + ":${item.name}-${item.arch}")}
        options = {"mode": "max", "image-manifest": True, "oci-mediatypes": True, "ignore-error": True}
        outputs: dict[Store, dict[str, object]] = {
            Store.REGISTRY: plan.exporter.pushed(plan.compression),
            Store.DOCKER: {"type": "docker"},
            Store.LAYOUT: {
                "type": "oci",
                "tar": False,
                "dest": _text(_escaped(f"{layouts.folder()}/") + "${item.tag}"),
                "compression": plan.compression,
            },
        }
        return {
            "inherits": ["_common"],
            "description": _text("Component ${item.name} for ${item.platform}"),
            "dockerfile": "../Dockerfile.components",
            "target": _text(CONTEXT_PREFIX + "${item.name}"),
            "platforms": [Expression("item.platform")],
            "contexts": Expression("item.contexts"),
            # Unused arguments are omitted, because even an empty value changes BuildKit's cache key.
            "args": {n: Expression(n) for n in ("BUILD_IMAGE", "DEBIAN_SNAPSHOT") if n in self.inputs},
            "cache-from": [cache] if plan.component_cache else [],
            "cache-to": [{**cache, **options}] if plan.component_cache and plan.exporter.caches else [],
            "tags": [_text("${COMPONENT_REPOSITORY}:${item.tag}")],
            "labels": {
                f"{_OCI}title": _text("ohbuild component ${item.name}"),
                label.TAG: Expression("item.tag"),
            },
            "output": [outputs[plan.store]],
        }

    def _context(self, item: ComponentImage) -> object:
        if self.plan.from_layouts:
            return layouts.context(item)
        return self._beside(str(item.image), "docker-image://")

    # --- deps and runtimes

    def _assembly(self) -> dict[str, object]:
        plan = self.plan
        labels = {
            name: self._beside(value) if name.startswith(label.COMPONENT_IMAGE) else value
            for name, value in self.labels.items()
        }
        for name in {f"{_OCI}version", label.VERSION} - set(plan.labels):
            labels[name] = Expression("OHBUILD_VERSION")
        index = plan.output is Output.PUSH and plan.exporter.index
        outputs = {
            Output.PUSH: plan.exporter.pushed(plan.compression),
            Output.LOAD: {"type": "docker"},
            Output.NONE: {"type": "cacheonly"},
        }
        return {
            "inherits": ["_common"],
            "dockerfile": "../Dockerfile",
            "contexts": {
                f"{CONTEXT_PREFIX}{item.component}::{item.platform}": self._context(item)
                for item in plan.images
                if item.component in plan.layers
            },
            # Push an index even for one platform: it states the platform, and all images have the same form.
            "args": {"BUILDKIT_MULTI_PLATFORM": "1"} if index else {},
            "cache-from": [{"type": "registry", "ref": self._beside(ref)} for ref in plan.cache_from],
            "labels": labels,
            "output": [outputs[plan.output]],
        }

    def _deps(self, target: Target) -> dict[str, object]:
        options = {"mode": "min", "compression": self.plan.compression, "image-manifest": True}
        options |= {"oci-mediatypes": True, "ignore-error": True}
        tags = target.tags(self.keys[target.name])
        return {
            "inherits": ["_assembly"],
            "description": "Deps image: only /openhands, one layer per component",
            "target": "deps",
            "platforms": [str(platform) for platform in target.platforms],
            "tags": [_text("${DEPS_REPOSITORY}:" + tag.rpartition(":")[2]) for tag in tags],
            **self._stated(deps_labels(self.plan, self.keys)),
            "cache-to": [{"type": "registry", "ref": self._beside(ref), **options} for ref in self.plan.cache_to],
        }

    def _runtime_row(self, target: Target) -> dict[str, object]:
        assert target.base is not None
        base = target.base
        row: dict[str, object] = {
            "name": target.name.removeprefix("runtime-"),
            "image": str(base.image),
            "from": base.reference,
            "canonical": base.image.canonical,
            "digest": base.digest or None,
            "tag": target.tag,
            "key": self.keys[target.name],
            "platforms": [str(platform) for platform in target.platforms],
        }
        if self.plan.executes:
            row |= {"user": base.user, "packages": " ".join(base.system_packages)}
        return row

    def _runtime(self) -> dict[str, object]:
        plan = self.plan
        known = all(target.base is not None and target.base.digest for target in plan.runtimes)
        version = plan.runtimes[0].version
        return {
            "inherits": ["_assembly"],
            "description": _text("/openhands on ${base.image}"),
            "target": last_stage(plan),
            "platforms": Expression("base.platforms"),
            "args": base_arguments(plan),
            "tags": [
                _text("${RUNTIME_REPOSITORY}:${base.tag}"),
                *([_text("${RUNTIME_REPOSITORY}:${base.tag}-" + version)] if version else []),
                _text("${RUNTIME_REPOSITORY}:${base.tag}-${substr(base.key, 0, " + f"{KEY_DIGITS})" + "}"),
            ],
            **self._stated(runtime_labels(plan, self.keys), without=() if known else (f"{_OCI}base.digest",)),
        }

    # --- shared by several targets

    def _stated(self, labels: Mapping[str, object], *, without: tuple[str, ...] = ()) -> dict[str, object]:
        """Returns labels and annotations of a target. Annotations also include the labels shared by all images.

        Args:
            labels: The target's own labels; bake merges them with the shared ones.
            without: Names of labels that do not become annotations.
        """
        stated = {
            name: value for name, value in {**self.labels, **labels}.items() if name.startswith("org.opencontainers.")
        }
        annotations = [
            _joined(f"index,manifest:{name}=", value) for name, value in stated.items() if name not in without
        ]
        annotated = self.plan.output is Output.PUSH and self.plan.exporter.index
        return {"labels": labels, "annotations": annotations if annotated else []}

    def _beside(self, reference: str, head: str = "") -> object:
        """Returns a reference; the repository of the component images is replaced by its variable."""
        own = self.inputs.get("COMPONENT_REPOSITORY", "") + ":"
        rest = reference.removeprefix(own)
        return _text(f"{head}${{COMPONENT_REPOSITORY}}:{rest}") if rest != reference else head + reference


def _text(template: str) -> Expression:
    """Returns a quoted template. Its text must come from ohbuild itself or from a parsed reference."""
    return Expression(f'"{template}"')


def _with_packages(plan: Plan, value: str) -> Expression | None:
    """Returns a value that is only set for bases with system packages."""
    return Expression(f'base.packages == "" ? null : {value}') if plan.system_packages else None


def _escaped(text: str) -> str:
    return quote(text)[1:-1]


def _joined(head: str, value: object) -> object:
    """Returns a text followed by a value."""
    if not isinstance(value, Expression):
        return f"{head}{value}"
    inside = value.text[1:-1] if value.text.startswith('"') else "${" + value.text + "}"
    return _text(head + inside)


def last_stage(plan: Plan) -> str:
    """Returns the name of the stage that becomes the runtime image."""
    return "extended" if plan.extra_deps else "runtime"


def base_arguments(plan: Plan, base: Base | None = None) -> dict[str, object]:
    """Returns the build arguments that differ between bases: values for one base, or expressions of the matrix."""
    if base is None:
        args: dict[str, object] = {
            "BASE": Expression("base.from"),
            "FOUNDATION": _with_packages(plan, '"system-packages"'),
            "OHBUILD_BASE": _with_packages(plan, "base.image"),
            "OHBUILD_BASE_USER": Expression("base.user") if plan.extra_deps else _with_packages(plan, "base.user"),
            "OHBUILD_SYSTEM_PACKAGES": _with_packages(plan, "base.packages"),
        }
        return {name: value for name, value in args.items() if value}
    args = {"BASE": base.reference}
    if base.system_packages:
        packages = " ".join(base.system_packages)
        args |= {"FOUNDATION": "system-packages", "OHBUILD_BASE": str(base.image), "OHBUILD_SYSTEM_PACKAGES": packages}
    return args | ({"OHBUILD_BASE_USER": base.user} if base.system_packages or plan.extra_deps else {})


def deps_labels(plan: Plan, keys: Mapping[str, str]) -> dict[str, str]:
    """Returns the labels of the deps image that the runtimes do not share."""
    labels = {f"{_OCI}title": "ohbuild deps", label.DEPS_KEY: keys["deps"]}
    return {name: value for name, value in labels.items() if name not in plan.labels}


def runtime_labels(plan: Plan, keys: Mapping[str, str], target: Target | None = None) -> dict[str, object]:
    """Returns the labels of runtimes that deps does not share: values for one target, or expressions of the matrix.

    Labels that the user sets are omitted, so that the user's values apply.
    """
    ready = plan.deps_image
    deps_ref = ready.image if ready else plan.deps.tags(keys["deps"])[-1] if plan.deps else ""
    labels: dict[str, object] = {
        label.DEPS_KEY: ready.labels.get(label.DEPS_KEY, "") if ready else keys["deps"],
        label.DEPS_REF: str(deps_ref),
        label.EXTRA_DEPS: hashlib.sha256(plan.extra_deps.encode()).hexdigest() if plan.extra_deps else "",
    }
    if target and target.base:
        base = target.base
        own: tuple[object, ...] = (base.image.canonical, base.digest, keys[target.name], " ".join(base.system_packages))
        title: object = f"ohbuild runtime on {base.image}"
    else:
        own = (*map(Expression, ("base.canonical", "base.digest", "base.key")), _with_packages(plan, "base.packages"))
        title = _text("ohbuild runtime on ${base.image}")
    names = (f"{_OCI}base.name", f"{_OCI}base.digest", label.KEY, label.SYSTEM_PACKAGES)
    labels = {f"{_OCI}title": title, **dict(zip(names, own, strict=True)), **labels}
    return {name: value for name, value in labels.items() if value and name not in plan.labels}
