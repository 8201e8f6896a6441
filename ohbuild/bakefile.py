"""What goes into docker-bake.hcl: a plan's targets as attributes. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from ohbuild.components import Component
from ohbuild.hcl import Expression, attributes
from ohbuild.model import Base, Output, Plan, Target
from ohbuild.plan import CONTEXT_PREFIX, DEPS_CONTEXT

CA_FILE = "ca.crt"
_OFF = {"type": "provenance", "disabled": True}


class BakeFile:
    """What the bake template is given."""

    def __init__(self, plan: Plan, keys: Mapping[str, str], deps_ref: str, labels: Mapping[str, str], *, has_ca: bool):
        self.plan, self.keys, self.deps_ref, self.labels, self.has_ca = plan, keys, deps_ref, labels, has_ca
        self.inputs = [
            {
                "name": "SOURCE_DATE_EPOCH",
                "description": "Seconds since 1970 that stand for every time in the images",
                "default": str(plan.source_date_epoch),
            }
        ]
        if has_ca:
            self.inputs.append(
                {
                    "name": "CA_BUNDLE",
                    "description": "CA certificates for the steps that download (a build secret, in no layer)",
                    "default": CA_FILE,
                }
            )

    def variables(self) -> dict[str, Any]:
        plan = self.plan
        return {
            "version": plan.version,
            "variables": self.inputs,
            "attributes": attributes,
            "common": self._common(),
            "deps": self._deps(plan.deps) if plan.deps else None,
            "deps_common": self._deps_common(plan.deps) if plan.deps else None,
            "components": [self._component(component) for component in plan.components] if plan.deps else [],
            "runtime_common": self._runtime_common(),
            "runtimes": [{"name": target.name, "attributes": self._runtime(target)} for target in plan.runtimes],
        }

    def _common(self) -> dict[str, object]:
        args: dict[str, object] = {"SOURCE_DATE_EPOCH": Expression("SOURCE_DATE_EPOCH")}
        if self.plan.output is Output.PUSH:
            # An index for one platform too: then the image states its platform, and every image looks the same.
            args["BUILDKIT_MULTI_PLATFORM"] = "1"
        provenance = {"type": "provenance", "mode": "max"} if self.plan.provenance else _OFF
        return {"context": "context", "args": args, "attest": [provenance], "labels": self.labels}

    def _deps_common(self, deps: Target) -> dict[str, object]:
        return {
            "inherits": ["_common"],
            "dockerfile": "../Dockerfile.deps",
            "platforms": [str(platform) for platform in deps.platforms],
            "secret": self._secret(),
            "cache-from": self._cache_from(),
        }

    def _component(self, component: Component) -> dict[str, object]:
        values: dict[str, object] = {
            "inherits": ["_deps"],
            "description": component.description,
            "target": component.name,
            "output": [{"type": "cacheonly"}],
        }
        return {"name": CONTEXT_PREFIX + component.name, "attributes": values}

    def _deps(self, target: Target) -> dict[str, object]:
        cache = {
            "type": "registry",
            "ref": self.plan.cache_to,
            "mode": "max",
            "compression": self.plan.compression,
            "image-manifest": True,
            "oci-mediatypes": True,
            "ignore-error": True,
        }
        return {
            "inherits": ["_deps"],
            "description": "The deps image: /openhands alone, one layer per component",
            "target": "deps",
            "cache-to": [cache] if self.plan.cache_to else [],
            **self._image(target),
        }

    def _secret(self) -> list[dict[str, object]]:
        return [{"type": "file", "id": "ca", "src": Expression("CA_BUNDLE")}] if self.has_ca else []

    def _runtime_common(self) -> dict[str, object]:
        if self.plan.deps_image:
            return {
                "inherits": ["_common"],
                "dockerfile": "../Dockerfile.runtime",
                "target": last_stage(self.plan),
                "contexts": {DEPS_CONTEXT: f"docker-image://{self.plan.deps_image.image}"},
                "secret": self._secret(),
                "cache-from": self._cache_from(),
            }
        return {
            "inherits": ["_common"],
            "dockerfile": "../Dockerfile",
            "target": last_stage(self.plan),
            # Which target's session a shared step runs in is BuildKit's choice, so each of them has to offer it.
            "secret": self._secret(),
            "cache-from": self._cache_from(),
        }

    def _runtime(self, target: Target) -> dict[str, object]:
        assert target.base is not None
        base = target.base
        return {
            "inherits": ["_runtime"],
            "description": f"/openhands on {base.image}",
            "platforms": [str(platform) for platform in target.platforms],
            "args": base_arguments(self.plan, base),
            **self._image(target),
        }

    def _image(self, target: Target) -> dict[str, object]:
        """Tags, labels, annotations and output of an image; labels merge with those of ``_common``."""
        push = self.plan.output is Output.PUSH
        where = "index,manifest" if push else "manifest"
        labels = image_labels(self.plan, target, self.keys, self.deps_ref, self.labels)
        merged = {**self.labels, **labels}
        annotations = [f"{where}:{k}={v}" for k, v in merged.items() if k.startswith("org.opencontainers.")]
        # Not into the Docker Engine's own store as well: that unpacks every image, 1.7 GB and 10 s for each base.
        output: dict[str, object] = {"type": "registry", "store": False} if push else {"type": "docker"}
        if push:
            output.update({"compression": self.plan.compression, "oci-mediatypes": True})
        return {
            "tags": list(target.tags(self.keys[target.name])),
            "labels": labels,
            "annotations": annotations if push else [],
            "output": [{"type": "cacheonly"} if self.plan.output is Output.NONE else output],
        }

    def _cache_from(self) -> list[object]:
        return [{"type": "registry", "ref": ref} for ref in self.plan.cache_from]


def last_stage(plan: Plan) -> str:
    """The stage that a runtime image is."""
    return "extended" if plan.extra_deps else "runtime"


def base_arguments(plan: Plan, base: Base) -> dict[str, str]:
    """The build arguments by which the runtimes of different bases differ."""
    # In full where it has no digest: `FROM python` would be the stage of that name.
    args = {"BASE": str(base.pinned) if base.pinned.digest else base.image.canonical}
    if base.system_packages or plan.extra_deps:
        args["OHBUILD_BASE_USER"] = base.user
    if base.system_packages:
        args |= {
            "FOUNDATION": "system-packages",
            "OHBUILD_BASE": str(base.image),
            "OHBUILD_SYSTEM_PACKAGES": " ".join(base.system_packages),
        }
    return dict(sorted(args.items()))


def image_labels(
    plan: Plan, target: Target, keys: Mapping[str, str], deps_ref: str, shared: Mapping[str, str]
) -> dict[str, str]:
    """The labels that one image has beyond those that all share; a user's own go over them."""
    labels = {"org.opencontainers.image.title": "ohbuild deps", "dev.ohbuild.deps.key": keys.get("deps", "")}
    if target.base:
        labels = {
            "org.opencontainers.image.title": f"ohbuild runtime on {target.base.image}",
            "org.opencontainers.image.base.name": target.base.image.canonical,
            "org.opencontainers.image.base.digest": target.base.digest or target.base.image.digest,
            "dev.ohbuild.key": keys[target.name],
            "dev.ohbuild.deps.key": keys.get("deps") or shared.get("dev.ohbuild.deps.key", ""),
            "dev.ohbuild.deps.ref": deps_ref,
            "dev.ohbuild.system-packages": " ".join(target.base.system_packages),
            "dev.ohbuild.extra-deps": hashlib.sha256(plan.extra_deps.encode()).hexdigest() if plan.extra_deps else "",
        }
    return {name: value for name, value in labels.items() if value and name not in plan.labels}
