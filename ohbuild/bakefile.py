"""What goes into docker-bake.hcl: a plan's targets as attributes. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ohbuild.components import Component
from ohbuild.hcl import Expression, attributes
from ohbuild.model import Output, Plan, Target
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
        title = {"org.opencontainers.image.title": "ohbuild deps", "dev.ohbuild.deps.key": self.keys["deps"]}
        return {
            "inherits": ["_deps"],
            "description": "The deps image: /openhands alone, one layer per component",
            "target": "deps",
            "cache-to": [cache] if self.plan.cache_to else [],
            **self._image(target, title),
        }

    def _secret(self) -> list[dict[str, object]]:
        return [{"type": "file", "id": "ca", "src": Expression("CA_BUNDLE")}] if self.has_ca else []

    def _runtime_common(self) -> dict[str, object]:
        if self.plan.deps_image:
            return {
                "inherits": ["_common"],
                "dockerfile": "../Dockerfile.runtime",
                "contexts": {DEPS_CONTEXT: f"docker-image://{self.plan.deps_image.image}"},
                "secret": self._secret(),
                "cache-from": self._cache_from(),
            }
        return {
            "inherits": ["_common"],
            "dockerfile": "../Dockerfile",
            "target": "runtime",
            # Which target's session a shared step runs in is BuildKit's choice, so each of them has to offer it.
            "secret": self._secret(),
            "cache-from": self._cache_from(),
        }

    def _runtime(self, target: Target) -> dict[str, object]:
        assert target.base is not None
        base = target.base
        title = {
            "org.opencontainers.image.title": f"ohbuild runtime on {base.image}",
            "org.opencontainers.image.base.name": base.image.canonical,
            "org.opencontainers.image.base.digest": base.digest or base.image.digest,
            "dev.ohbuild.key": self.keys[target.name],
            "dev.ohbuild.deps.key": self.keys.get("deps") or self.labels.get("dev.ohbuild.deps.key", ""),
            "dev.ohbuild.deps.ref": self.deps_ref,
        }
        # In full where it has no digest: `FROM python` would be the stage of that name.
        args = {"BASE": str(base.pinned) if base.pinned.digest else base.image.canonical}
        if base.system_packages:
            packages = " ".join(base.system_packages)
            args |= {
                "FOUNDATION": "system-packages",
                "OHBUILD_BASE": str(base.image),
                "OHBUILD_BASE_USER": base.user,
                "OHBUILD_SYSTEM_PACKAGES": packages,
            }
            title["dev.ohbuild.system-packages"] = packages
        return {
            "inherits": ["_runtime"],
            "description": f"/openhands on {base.image}",
            "platforms": [str(platform) for platform in target.platforms],
            "args": args,
            **self._image(target, title),
        }

    def _image(self, target: Target, labels: Mapping[str, str]) -> dict[str, object]:
        """Tags, labels, annotations and output of an image; labels merge with those of ``_common``."""
        push = self.plan.output is Output.PUSH
        where = "index,manifest" if push else "manifest"
        labels = {name: value for name, value in labels.items() if value and name not in self.plan.labels}
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
