# Made by ohbuild 0.1.0. Changes here are lost: change the settings (`ohbuild config`) and run ohbuild again.
#
# By hand, in this folder (deps first, so that the runtimes find its layers in the registry):
#   docker buildx bake deps
#   docker buildx bake runtimes
# `docker buildx bake --list=targets` tells what there is, `--list=variables` what can be set in the environment.

variable "SOURCE_DATE_EPOCH" {
  description = "Seconds since 1970 that stand for every time in the images"
  default     = "1735689600"
}

variable "CA_BUNDLE" {
  description = "CA certificates for the steps that download (a build secret, in no layer)"
  default     = "ca.crt"
}

group "default" {
  targets = ["deps", "runtimes"]
}

group "runtimes" {
  targets = ["runtime-debian-trixie", "runtime-alpine-3-23"]
}

target "_common" {
  context = "context"
  args = {
    SOURCE_DATE_EPOCH       = SOURCE_DATE_EPOCH
    BUILDKIT_MULTI_PLATFORM = "1"
  }
  attest = [{ type = "provenance", disabled = true }]
  labels = {
    "org.opencontainers.image.description" = "An AI-agent runtime, self-contained below /openhands"
    "org.opencontainers.image.version"     = "0.1.0"
    "org.opencontainers.image.licenses"    = "NOASSERTION"
    "dev.ohbuild.version"                  = "0.1.0"
    "dev.ohbuild.components"               = "core,python,tmux"
    "dev.ohbuild.component.core"           = "1"
    "dev.ohbuild.component.python"         = "3.13"
    "dev.ohbuild.component.tmux"           = "3.5a"
    "org.example.note"                     = "quoted \"$${x}\"\nsecond line"
  }
}

# Every target below has the platforms of all runtimes: one without them would be built for the builder's own platform
# alone, and its files would end up in the images of the others.
target "_deps" {
  inherits   = ["_common"]
  dockerfile = "../Dockerfile.deps"
  platforms  = ["linux/amd64", "linux/arm64"]
  secret     = [{ type = "file", id = "ca", src = CA_BUNDLE }]
  cache-from = [{ type = "registry", ref = "localhost:5000/ohbuild/cache:deps" }]
}

# To try one component by itself; deps and the runtimes need none of these.
group "components" {
  targets = ["component-core", "component-python", "component-tmux"]
}

target "component-core" {
  inherits    = ["_deps"]
  description = "fake core"
  target      = "core"
  output      = [{ type = "cacheonly" }]
}

target "component-python" {
  inherits    = ["_deps"]
  description = "fake python"
  target      = "python"
  output      = [{ type = "cacheonly" }]
}

target "component-tmux" {
  inherits    = ["_deps"]
  description = "fake tmux"
  target      = "tmux"
  output      = [{ type = "cacheonly" }]
}

# The only target that writes the cache: two writers of one reference would overwrite each other.
target "deps" {
  inherits    = ["_deps"]
  description = "The deps image: /openhands alone, one layer per component"
  target      = "deps"
  cache-to = [
    {
      type           = "registry"
      ref            = "localhost:5000/ohbuild/cache:deps"
      mode           = "max"
      compression    = "zstd"
      image-manifest = true
      oci-mediatypes = true
      ignore-error   = true
    },
  ]
  tags = ["localhost:5000/ohbuild/deps:latest", "localhost:5000/ohbuild/deps:28b07c0da4b6"]
  labels = {
    "org.opencontainers.image.title" = "ohbuild deps"
    "dev.ohbuild.deps.key"           = "28b07c0da4b6cdcd36af6b2641e5c8ca894cf8d26f469b1be382064dceaff858"
  }
  annotations = [
    "index,manifest:org.opencontainers.image.description=An AI-agent runtime, self-contained below /openhands",
    "index,manifest:org.opencontainers.image.version=0.1.0",
    "index,manifest:org.opencontainers.image.licenses=NOASSERTION",
    "index,manifest:org.opencontainers.image.title=ohbuild deps",
  ]
  output = [{ type = "registry", store = false, compression = "zstd", oci-mediatypes = true }]
}

# A runtime copies from the same stages as deps, not from deps: BuildKit then sees the same vertices and the same blobs.
# Its Dockerfile is Dockerfile.deps with Dockerfile.runtime as the last stage, for a runtime to be one solve.
target "_runtime" {
  inherits   = ["_common"]
  dockerfile = "../Dockerfile"
  target     = "runtime"
  secret     = [{ type = "file", id = "ca", src = CA_BUNDLE }]
  cache-from = [{ type = "registry", ref = "localhost:5000/ohbuild/cache:deps" }]
}

target "runtime-debian-trixie" {
  inherits    = ["_runtime"]
  description = "/openhands on debian:trixie"
  platforms   = ["linux/amd64", "linux/arm64"]
  args = {
    BASE = "debian:trixie@sha256:abababababababababababababababababababababababababababababababab"
  }
  tags = [
    "localhost:5000/ohbuild/runtime:debian-trixie",
    "localhost:5000/ohbuild/runtime:debian-trixie-12c3b2fe465d",
  ]
  labels = {
    "org.opencontainers.image.title"       = "ohbuild runtime on debian:trixie"
    "org.opencontainers.image.base.name"   = "docker.io/library/debian:trixie"
    "org.opencontainers.image.base.digest" = "sha256:abababababababababababababababababababababababababababababababab"
    "dev.ohbuild.key"                      = "12c3b2fe465dc2a8dd1663cb4fc9db909fc2c97860cc865d566178e723581762"
    "dev.ohbuild.deps.key"                 = "28b07c0da4b6cdcd36af6b2641e5c8ca894cf8d26f469b1be382064dceaff858"
    "dev.ohbuild.deps.ref"                 = "localhost:5000/ohbuild/deps:28b07c0da4b6"
  }
  annotations = [
    "index,manifest:org.opencontainers.image.description=An AI-agent runtime, self-contained below /openhands",
    "index,manifest:org.opencontainers.image.version=0.1.0",
    "index,manifest:org.opencontainers.image.licenses=NOASSERTION",
    "index,manifest:org.opencontainers.image.title=ohbuild runtime on debian:trixie",
    "index,manifest:org.opencontainers.image.base.name=docker.io/library/debian:trixie",
    "index,manifest:org.opencontainers.image.base.digest=sha256:abababababababababababababababababababababababababababababababab",
  ]
  output = [{ type = "registry", store = false, compression = "zstd", oci-mediatypes = true }]
}

target "runtime-alpine-3-23" {
  inherits    = ["_runtime"]
  description = "/openhands on alpine:3.23"
  platforms   = ["linux/amd64"]
  args = {
    BASE = "docker.io/library/alpine:3.23"
  }
  tags = [
    "localhost:5000/ohbuild/runtime:alpine-3.23",
    "localhost:5000/ohbuild/runtime:alpine-3.23-09514724c74f",
  ]
  labels = {
    "org.opencontainers.image.title"     = "ohbuild runtime on alpine:3.23"
    "org.opencontainers.image.base.name" = "docker.io/library/alpine:3.23"
    "dev.ohbuild.key"                    = "09514724c74f808aa964c9d22226ce4ec6caaf4fd1bead09453bca87835086bd"
    "dev.ohbuild.deps.key"               = "28b07c0da4b6cdcd36af6b2641e5c8ca894cf8d26f469b1be382064dceaff858"
    "dev.ohbuild.deps.ref"               = "localhost:5000/ohbuild/deps:28b07c0da4b6"
  }
  annotations = [
    "index,manifest:org.opencontainers.image.description=An AI-agent runtime, self-contained below /openhands",
    "index,manifest:org.opencontainers.image.version=0.1.0",
    "index,manifest:org.opencontainers.image.licenses=NOASSERTION",
    "index,manifest:org.opencontainers.image.title=ohbuild runtime on alpine:3.23",
    "index,manifest:org.opencontainers.image.base.name=docker.io/library/alpine:3.23",
  ]
  output = [{ type = "registry", store = false, compression = "zstd", oci-mediatypes = true }]
}
