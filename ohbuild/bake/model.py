"""What a run makes, as frozen values: targets, component images, the plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from ohbuild.components.component import Component
from ohbuild.components.stages import Stages
from ohbuild.images.platform import Platform
from ohbuild.images.reference import ImageRef

KEY_DIGITS = 12
"""How many hexadecimal digits of a key are in a tag."""
_NAME_IN_TAG = 80


class Output(StrEnum):
    """Where the images go."""

    PUSH = "push"
    LOAD = "load"
    NONE = "none"


@dataclass(frozen=True, kw_only=True)
class Base:
    """A base as the user gave it, and what a registry says it is.

    Args:
        platforms: the platforms that the configuration gives this base; empty for all that the run asks for.
        digest: of its index or manifest, once a registry was asked; pins the base in the generated file.
        system_packages: what its own package manager installs into it, sorted; with none, nothing is executed in it.
        user: its ``USER``, once a registry was asked; empty for root.
    """

    image: ImageRef
    platforms: tuple[Platform, ...] = ()
    digest: str = ""
    system_packages: tuple[str, ...] = ()
    user: str = ""

    @property
    def pinned(self) -> ImageRef:
        return self.image.pinned(self.digest) if self.digest else self.image

    @property
    def reference(self) -> str:
        """What follows ``FROM``; in full where there is no digest, as `FROM python` would be the stage of that name."""
        return str(self.pinned) if self.pinned.digest else self.image.canonical


@dataclass(frozen=True, kw_only=True)
class Target:
    """One image to build: a component image, the deps image, or a runtime image for one base.

    Args:
        name: the bake target, ``[A-Za-z0-9_-]+``.
        tag: the tag that moves; an immutable one, with the key of its content, is added when it is rendered. A
            component image has one tag only, which has its key already.
        component: the component's name, for a component image.
    """

    name: str
    repository: ImageRef
    tag: str
    platforms: tuple[Platform, ...]
    base: Base | None = None
    component: str = ""

    def tags(self, key: str) -> tuple[str, ...]:
        """The moving tag and the immutable one, which ends in the first 12 digits of ``key``."""
        if self.component:
            return (str(self.repository.tagged(self.tag)),)
        immutable = key[:KEY_DIGITS] if self.base is None else f"{self.tag}-{key[:KEY_DIGITS]}"
        return str(self.repository.tagged(self.tag)), str(self.repository.tagged(immutable))


class Store(StrEnum):
    """Where component images are kept between the pass that builds them and the pass that copies from them."""

    REGISTRY = "registry"
    DOCKER = "docker"
    """The Docker Engine's own image store, for its own builder, where there is no registry."""
    LAYOUT = "layout"
    """OCI image layouts in a folder of the user's, for other builders, where there is no registry."""


@dataclass(frozen=True, kw_only=True)
class ComponentImage:
    """The image of one component for one platform.

    Args:
        image: its repository and its tag ``<name>-<key>-<architecture>``; its digest too, once that is known.
        exists: whether its store has it.
    """

    component: str
    platform: Platform
    image: ImageRef
    exists: bool = False

    @classmethod
    def named(cls, component: str, platform: Platform, key: str, repository: ImageRef) -> ComponentImage:
        """The image of a component whose content has this key."""
        tag = f"{component[:_NAME_IN_TAG]}-{key[:KEY_DIGITS]}-{platform.word}"
        return cls(component=component, platform=platform, image=repository.tagged(tag))

    @property
    def key(self) -> str:
        """The first digits of the key, out of the tag."""
        return self.image.tag.removesuffix(f"-{self.platform.word}").rpartition("-")[2]

    @property
    def target(self) -> Target:
        """What builds it."""
        name = f"component-{self.component}-{self.platform.word}"
        repository = ImageRef(self.image.registry, self.image.path)
        return Target(
            name=name,
            repository=repository,
            tag=self.image.tag,
            platforms=(self.platform,),
            component=self.component,
        )


@dataclass(frozen=True, kw_only=True)
class DepsImage:
    """A ready deps image, with the labels and ENV found in it.

    Args:
        images: the component images that it was made of, by its labels.
    """

    image: ImageRef
    labels: Mapping[str, str] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    images: tuple[ComponentImage, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Every target of one run, with platforms, tags, cache and output decided.

    Args:
        components: what is in the images, in layer order; empty with a ready deps image, whose labels tell.
        layers: the names of those, in layer order.
        images: the component images of the layers, and of what these are built with, for every platform.
        store: where the component images are.
        stages: what component images are built from.
        args: the components' build arguments with their values.
        extra_deps: a script that bash runs as root in each runtime, last; empty for none.
        build_image: what the components are assembled in, on the builder's own platform.
        deps: the deps target; its platforms are the union of the runtimes' (a deps without them would put this
            machine's files into every platform's image). ``None`` when ``deps_image`` is given.
        cache_from, cache_to: registry references of the cache of the assembly.
        component_cache: repository for a build cache of the components; nothing depends on it.
        debian_snapshot: URL of a dated archive for Debian packages that the ordinary one no longer has.
        compression: of new layers, ``zstd`` or ``gzip``.
        source_date_epoch: seconds since 1970 that stand for every time in the images.
    """

    components: tuple[Component, ...]
    layers: tuple[str, ...]
    images: tuple[ComponentImage, ...]
    store: Store = Store.REGISTRY
    stages: Stages
    args: Mapping[str, str] = field(default_factory=dict)
    extra_deps: str = ""
    build_image: ImageRef
    deps: Target | None
    deps_image: DepsImage | None = None
    runtimes: tuple[Target, ...] = ()
    output: Output = Output.NONE
    cache_from: tuple[str, ...] = ()
    cache_to: tuple[str, ...] = ()
    component_cache: str = ""
    debian_snapshot: str = ""
    compression: str = "zstd"
    source_date_epoch: int = 0
    provenance: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    version: str = ""

    @property
    def system_packages(self) -> bool:
        """Whether any runtime has system packages."""
        return any(target.base is not None and target.base.system_packages for target in self.runtimes)

    @property
    def executes(self) -> bool:
        """Whether anything is executed in any base: system packages, or commands of the user's."""
        return bool(self.runtimes) and (self.system_packages or bool(self.extra_deps))

    @property
    def from_layouts(self) -> bool:
        """Whether the layers come out of layouts on this machine, which nobody else can name."""
        return self.store is Store.LAYOUT and not self.deps_image

    @property
    def missing(self) -> tuple[ComponentImage, ...]:
        """The component images that have to be built first."""
        return tuple(item for item in self.images if item.component in self.layers and not item.exists)

    @property
    def targets(self) -> tuple[Target, ...]:
        """The images of the run, in the order in which they are assembled."""
        return (*((self.deps,) if self.deps else ()), *self.runtimes)

    def with_images(self, digests: Mapping[str, str]) -> Plan:
        """The plan after component images were built.

        Args:
            digests: target → digest, as far as the builder said one.
        """
        images = []
        for item in self.images:
            if (digest := digests.get(item.target.name)) is not None:
                image = item.image.pinned(digest) if self.store is Store.REGISTRY else item.image
                item = replace(item, image=image, exists=True)
            images.append(item)
        return replace(self, images=tuple(images))
