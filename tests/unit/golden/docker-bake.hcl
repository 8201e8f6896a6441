# Made by ohbuild 0.1.0. Changes here are lost: change the settings (`ohbuild config`) and run ohbuild again.
#
# By hand, in this folder, in this order:
#   docker buildx bake components   # those that did not exist when this was written
#   docker buildx bake
# `docker buildx bake --list=targets` tells what there is, `--list=variables` what can be set in the environment.

variable "SOURCE_DATE_EPOCH" {
  description = "Seconds since 1970 that stand for every time in the images"
  default     = "1735689600"
}

variable "CA_BUNDLE" {
  description = "CA certificates for the steps that download (a build secret, in no layer)"
  default     = "ca.crt"
}

variable "BUILD_IMAGE" {
  description = "What the components are assembled in"
  default     = "debian:trixie@sha256:abababababababababababababababababababababababababababababababab"
}

variable "OHBUILD_VERSION" {
  description = "The version that labels state"
  default     = "0.1.0"
}

variable "COMPONENT_REPOSITORY" {
  description = "Where the component images and the cache of the assembly are"
  default     = "localhost:5000/ohbuild/deps"
}

variable "DEPS_REPOSITORY" {
  description = "Where the deps image goes"
  default     = "localhost:5000/ohbuild/deps"
}

variable "RUNTIME_REPOSITORY" {
  description = "Where the runtime images go"
  default     = "localhost:5000/ohbuild/runtime"
}

group "default" {
  targets = ["deps", "runtimes"]
}

group "runtimes" {
  targets = ["runtime"]
}

group "components" {
  targets = ["component"]
}

target "_common" {
  context = "context"
  args = {
    SOURCE_DATE_EPOCH = SOURCE_DATE_EPOCH
  }
  attest = [{ type = "provenance", disabled = true }]
  secret = [{ type = "file", id = "ca", src = CA_BUNDLE }]
}

# One image for each component and platform, named by its content. Where a component that it is built with has an image,
# that takes the place of the stage.
target "component" {
  name = "component-${item.name}-${item.arch}"
  matrix = {
    item = [
      { name = "core", platform = "linux/arm64", arch = "arm64", tag = "core-4d7a967eb539-arm64", contexts = {} },
      { name = "python", platform = "linux/amd64", arch = "amd64", tag = "python-009d2b821cb0-amd64", contexts = {} },
      { name = "python", platform = "linux/arm64", arch = "arm64", tag = "python-009d2b821cb0-arm64", contexts = {} },
      { name = "tmux", platform = "linux/amd64", arch = "amd64", tag = "tmux-9df405c60285-amd64", contexts = {} },
      { name = "tmux", platform = "linux/arm64", arch = "arm64", tag = "tmux-9df405c60285-arm64", contexts = {} },
    ]
  }
  inherits    = ["_common"]
  description = "Component ${item.name} for ${item.platform}"
  dockerfile  = "../Dockerfile.components"
  target      = "component-${item.name}"
  platforms   = [item.platform]
  contexts    = item.contexts
  args = {
    BUILD_IMAGE = BUILD_IMAGE
  }
  tags = ["${COMPONENT_REPOSITORY}:${item.tag}"]
  labels = {
    "org.opencontainers.image.title" = "ohbuild component ${item.name}"
    "dev.ohbuild.tag"                = item.tag
  }
  output = [{ type = "registry", store = false, compression = "zstd", oci-mediatypes = true }]
}

# Images are put together by copies alone. Builders that have nothing find them in this cache, and no layer is moved.
target "_assembly" {
  inherits   = ["_common"]
  dockerfile = "../Dockerfile"
  contexts = {
    "component-core::linux/amd64"   = "docker-image://${COMPONENT_REPOSITORY}:core-4d7a967eb539-amd64@sha256:cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd"
    "component-core::linux/arm64"   = "docker-image://${COMPONENT_REPOSITORY}:core-4d7a967eb539-arm64"
    "component-python::linux/amd64" = "docker-image://${COMPONENT_REPOSITORY}:python-009d2b821cb0-amd64"
    "component-python::linux/arm64" = "docker-image://${COMPONENT_REPOSITORY}:python-009d2b821cb0-arm64"
    "component-tmux::linux/amd64"   = "docker-image://${COMPONENT_REPOSITORY}:tmux-9df405c60285-amd64"
    "component-tmux::linux/arm64"   = "docker-image://${COMPONENT_REPOSITORY}:tmux-9df405c60285-arm64"
  }
  args = {
    BUILDKIT_MULTI_PLATFORM = "1"
  }
  cache-from = [
    { type = "registry", ref = "${COMPONENT_REPOSITORY}:assembly_8e76a7d9-amd64" },
    { type = "registry", ref = "${COMPONENT_REPOSITORY}:assembly_8e76a7d9-arm64" },
  ]
  labels = {
    "org.opencontainers.image.description"     = "An AI-agent runtime, self-contained below /openhands"
    "org.opencontainers.image.version"         = OHBUILD_VERSION
    "org.opencontainers.image.licenses"        = "NOASSERTION"
    "dev.ohbuild.version"                      = OHBUILD_VERSION
    "dev.ohbuild.components"                   = "core,python,tmux"
    "dev.ohbuild.component.core"               = "1"
    "dev.ohbuild.component.python"             = "3.13"
    "dev.ohbuild.component.tmux"               = "3.5a"
    "org.example.note"                         = "quoted \"$${x}\"\nsecond line"
    "dev.ohbuild.component-image.core.amd64"   = "${COMPONENT_REPOSITORY}:core-4d7a967eb539-amd64@sha256:cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd"
    "dev.ohbuild.component-image.core.arm64"   = "${COMPONENT_REPOSITORY}:core-4d7a967eb539-arm64"
    "dev.ohbuild.component-image.python.amd64" = "${COMPONENT_REPOSITORY}:python-009d2b821cb0-amd64"
    "dev.ohbuild.component-image.python.arm64" = "${COMPONENT_REPOSITORY}:python-009d2b821cb0-arm64"
    "dev.ohbuild.component-image.tmux.amd64"   = "${COMPONENT_REPOSITORY}:tmux-9df405c60285-amd64"
    "dev.ohbuild.component-image.tmux.arm64"   = "${COMPONENT_REPOSITORY}:tmux-9df405c60285-arm64"
  }
  output = [{ type = "registry", store = false, compression = "zstd", oci-mediatypes = true }]
}

# The only target that writes the cache: two writers of one reference would overwrite each other. It has the platforms
# of all runtimes.
target "deps" {
  inherits    = ["_assembly"]
  description = "The deps image: /openhands alone, one layer per component"
  target      = "deps"
  platforms   = ["linux/amd64", "linux/arm64"]
  tags        = ["${DEPS_REPOSITORY}:latest", "${DEPS_REPOSITORY}:032873690cbb"]
  labels = {
    "org.opencontainers.image.title" = "ohbuild deps"
    "dev.ohbuild.deps.key"           = "032873690cbbbad39ac3f681b9393981d9d60b98d72fbfa3ec5bd7ac71119ff2"
  }
  annotations = [
    "index,manifest:org.opencontainers.image.description=An AI-agent runtime, self-contained below /openhands",
    "index,manifest:org.opencontainers.image.version=0.1.0",
    "index,manifest:org.opencontainers.image.licenses=NOASSERTION",
    "index,manifest:org.opencontainers.image.title=ohbuild deps",
  ]
  cache-to = [
    {
      type           = "registry"
      ref            = "${COMPONENT_REPOSITORY}:assembly_8e76a7d9-amd64"
      mode           = "min"
      compression    = "zstd"
      image-manifest = true
      oci-mediatypes = true
      ignore-error   = true
    },
    {
      type           = "registry"
      ref            = "${COMPONENT_REPOSITORY}:assembly_8e76a7d9-arm64"
      mode           = "min"
      compression    = "zstd"
      image-manifest = true
      oci-mediatypes = true
      ignore-error   = true
    },
  ]
}

target "runtime" {
  name = "runtime-${base.name}"
  matrix = {
    base = [
      { name = "debian-trixie", image = "debian:trixie", from = "debian:trixie@sha256:abababababababababababababababababababababababababababababababab", canonical = "docker.io/library/debian:trixie", digest = "sha256:abababababababababababababababababababababababababababababababab", tag = "debian-trixie", key = "f52fb0de604ba6afc173719da9dd118c231d4e9713f32c2cb38413a290bb4492", platforms = ["linux/amd64", "linux/arm64"] },
      { name = "alpine-3-23", image = "alpine:3.23", from = "docker.io/library/alpine:3.23", canonical = "docker.io/library/alpine:3.23", digest = null, tag = "alpine-3.23", key = "81251d3f776d0a80780c42d6c9b7f2cdb258763f6f6fd7f0cc811a5ed235ab99", platforms = ["linux/amd64"] },
    ]
  }
  inherits    = ["_assembly"]
  description = "/openhands on ${base.image}"
  target      = "runtime"
  platforms   = base.platforms
  args = {
    BASE = base.from
  }
  tags = [
    "${RUNTIME_REPOSITORY}:${base.tag}",
    "${RUNTIME_REPOSITORY}:${base.tag}-${substr(base.key, 0, 12)}",
  ]
  labels = {
    "org.opencontainers.image.title"       = "ohbuild runtime on ${base.image}"
    "org.opencontainers.image.base.name"   = base.canonical
    "org.opencontainers.image.base.digest" = base.digest
    "dev.ohbuild.key"                      = base.key
    "dev.ohbuild.deps.key"                 = "032873690cbbbad39ac3f681b9393981d9d60b98d72fbfa3ec5bd7ac71119ff2"
    "dev.ohbuild.deps.ref"                 = "localhost:5000/ohbuild/deps:032873690cbb"
  }
  annotations = [
    "index,manifest:org.opencontainers.image.description=An AI-agent runtime, self-contained below /openhands",
    "index,manifest:org.opencontainers.image.version=0.1.0",
    "index,manifest:org.opencontainers.image.licenses=NOASSERTION",
    "index,manifest:org.opencontainers.image.title=ohbuild runtime on ${base.image}",
    "index,manifest:org.opencontainers.image.base.name=${base.canonical}",
  ]
}
