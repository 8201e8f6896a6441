"""The plan of a run as frozen values: targets, component images, bases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from ohbuild.components.component import Component
from ohbuild.components.stages import Stages
from ohbuild.docker.exporters import Exporter
from ohbuild.images.platform import Platform
from ohbuild.images.reference import ImageRef

KEY_DIGITS = 12
"""Number of hexadecimal digits of a key that are part of a tag."""
_NAME_IN_TAG = 80


class Output(StrEnum):
    """Where the finished images go."""

    PUSH = "push"
    LOAD = "load"
    NONE = "none"


@dataclass(frozen=True, kw_only=True)
class Base:
    """A base as named by the user, and what its registry reported about it.

    Attributes:
        image: The reference as named by the user.
        platforms: Platforms configured for this base; empty for all platforms of the run.
        digest: Digest of its index or manifest, which pins the base in the generated files; empty if no registry was
            queried.
        system_packages: Packages that its own package manager installs, sorted; if empty, it executes nothing.
        user: Its ``USER``; empty for root, or if no registry was queried.
    """

    image: ImageRef
    platforms: tuple[Platform, ...] = ()
    digest: str = ""
    system_packages: tuple[str, ...] = ()
    user: str = ""

    @property
    def pinned(self) -> ImageRef:
        """The reference with the digest if it is known."""
        return self.image.pinned(self.digest) if self.digest else self.image

    @property
    def reference(self) -> str:
        """The argument of ``FROM``; canonical if there is no digest, because `FROM python` could name a stage."""
        return str(self.pinned) if self.pinned.digest else self.image.canonical


@dataclass(frozen=True, kw_only=True)
class Target:
    """One image to build: a component image, the deps image, or a runtime image for one base.

    Attributes:
        name: Name of the bake target, ``[A-Za-z0-9_-]+``.
        repository: Repository of the image.
        tag: The moving tag. Rendering adds an immutable tag with the key of the content. The only tag of a component
            image already has the key.
        platforms: Platforms of the image.
        base: The base of a runtime image; ``None`` for other images.
        component: Name of the component of a component image; empty for other images.
        version: The server and its version, for a second moving tag; empty if ``tag`` names them.
    """

    name: str
    repository: ImageRef
    tag: str
    platforms: tuple[Platform, ...]
    base: Base | None = None
    component: str = ""
    version: str = ""

    def tags(self, key: str) -> tuple[str, ...]:
        """Returns the full tags: the moving ones, and the immutable one, which ends in the first 12 digits of ``key``.

        A component image only has one tag.
        """
        if self.component:
            return (str(self.repository.tagged(self.tag)),)
        ends = [end for end in (self.version, key[:KEY_DIGITS]) if end]
        tags = [self.tag, *(end if self.base is None else f"{self.tag}-{end}" for end in ends)]
        return tuple(str(self.repository.tagged(tag)) for tag in tags)


class Store(StrEnum):
    """Where component images are kept between being built and being copied from."""

    REGISTRY = "registry"
    DOCKER = "docker"
    """The Docker Engine's image store, for its own builder if there is no registry."""
    LAYOUT = "layout"
    """OCI image layouts in the user's cache folder, for other builders if there is no registry."""


@dataclass(frozen=True, kw_only=True)
class ComponentImage:
    """The image of one component for one platform.

    Attributes:
        component: Name of the component.
        platform: Platform of the image.
        image: Repository, tag ``<name>-<key>-<architecture>``, and the digest if it is known. The tag of a component
            whose version can be chosen has the version after the name.
        exists: Whether its store has it.
    """

    component: str
    platform: Platform
    image: ImageRef
    exists: bool = False

    @classmethod
    def named(
        cls, component: str, platform: Platform, key: str, repository: ImageRef, version: str = ""
    ) -> ComponentImage:
        """Returns the image of a component whose content has this key."""
        name = "-".join(part for part in (component[:_NAME_IN_TAG], version) if part)
        tag = f"{name}-{key[:KEY_DIGITS]}-{platform.word}"
        return cls(component=component, platform=platform, image=repository.tagged(tag))

    @property
    def key(self) -> str:
        """The first digits of the key, taken from the tag."""
        return self.image.tag.removesuffix(f"-{self.platform.word}").rpartition("-")[2]

    @property
    def target(self) -> Target:
        """The target that builds it."""
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
    """An existing deps image.

    Attributes:
        image: Reference of the image.
        labels: Its labels.
        env: Its environment variables.
        images: The component images that it was assembled from, according to its labels.
    """

    image: ImageRef
    labels: Mapping[str, str] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    images: tuple[ComponentImage, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Every target of one run, with platforms, tags, cache and output decided.

    Attributes:
        components: Components of the images in layer order; empty with a ready deps image, whose labels name them.
        layers: Names of these components in layer order. If nothing is assembled: of those whose images are built.
        images: Component images of the layers, and of the components that these are built with, for every platform.
        store: Where the component images are kept.
        stages: Stages that build the component images.
        args: Build arguments of the components with their values.
        extra_deps: Script that bash runs as root in each runtime, as the last step; empty if there is none.
        build_image: Image in which components are built, on the builder's own platform.
        deps: The deps target, for the platforms of all runtimes. (Without platforms, every platform's image would get
            the files of this machine's platform.) ``None`` with a ready deps image, or if nothing is assembled.
        deps_image: The ready deps image of the settings.
        runtimes: Targets of the runtime images.
        output: Where the images go.
        exporter: What the builder can export.
        cache_from: Registry references that the assembly cache is read from.
        cache_to: Registry references that the assembly cache is written to.
        component_cache: Repository of an optional build cache of the components; empty if there is none.
        debian_snapshot: URL of a dated Debian archive, for packages that the regular one no longer has.
        compression: Compression of new layers, ``zstd`` or ``gzip``.
        source_date_epoch: Timestamp of everything in the images, in seconds since 1970.
        provenance: Whether provenance is attached.
        labels: The user's labels for every image.
        version: ohbuild's version.
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
    exporter: Exporter = field(default_factory=Exporter)
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
        """Whether anything is executed in any base: a package manager, or the user's commands."""
        return bool(self.runtimes) and (self.system_packages or bool(self.extra_deps))

    @property
    def from_layouts(self) -> bool:
        """Whether the layers are copied from layouts, which only this machine can access."""
        return self.store is Store.LAYOUT and not self.deps_image

    @property
    def missing(self) -> tuple[ComponentImage, ...]:
        """The component images that must be built first."""
        return tuple(item for item in self.images if item.component in self.layers and not item.exists)

    @property
    def targets(self) -> tuple[Target, ...]:
        """The targets of deps and runtimes in the order of their assembly."""
        return (*((self.deps,) if self.deps else ()), *self.runtimes)

    def with_images(self, digests: Mapping[str, str]) -> Plan:
        """Returns the plan after component images were built.

        Args:
            digests: Digests of the images that were built, by target; empty if the builder reported none.
        """
        images = []
        for item in self.images:
            if (digest := digests.get(item.target.name)) is not None:
                image = item.image.pinned(digest) if self.store is Store.REGISTRY else item.image
                item = replace(item, image=image, exists=True)
            images.append(item)
        return replace(self, images=tuple(images))
