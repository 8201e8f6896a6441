# check=error=true
#
# A runtime image: the base's own layers, the layers of /openhands, a config.
#
# Nothing is executed in the base (no RUN, no WORKDIR, no --chmod, no --chown): any of these would pull the base, and
# emulate it for a foreign platform. `COPY --link` makes layers that do not know what they lie on, so every runtime
# image carries the very blobs of the deps image.
# The exception are targets that ask for system packages: they stand on a stage of its own.
# What the user's own commands add lies on top of it all, in a stage of its own as well.

ARG BASE=docker.io/library/alpine:3.23
# What the runtime stands on: the base, or the stage that has installed system packages into it.
ARG FOUNDATION=system-packages
ARG SOURCE_DATE_EPOCH=1735689600
ARG OHBUILD_BASE="alpine:3.23"
ARG OHBUILD_BASE_USER=""
ARG OHBUILD_SYSTEM_PACKAGES="git"

# The components, ready made.
FROM ghcr.io/x/deps:1 AS ohbuild-deps

# The base with packages of its own distribution. Built only for the targets that ask for some: the only thing that is
# ever executed in a base.
# (The names are long, as a variable of the base goes over an argument of the same name.)
FROM ${BASE} AS system-packages
ARG OHBUILD_BASE
ARG OHBUILD_SYSTEM_PACKAGES
ARG SOURCE_DATE_EPOCH
USER 0:0
RUN --mount=type=bind,source=system-packages/install,target=/run/ohbuild/install \
    --mount=type=secret,id=ca,target=/run/ohbuild/ca.crt --mount=type=tmpfs,target=/tmp \
    ["/bin/sh", "/run/ohbuild/install"]
ARG OHBUILD_BASE_USER
USER ${OHBUILD_BASE_USER}

FROM ${FOUNDATION} AS runtime

# An opaque whiteout: nothing of what a base may have below /openhands shows through.
COPY --link opaque /openhands
COPY --link --from=ohbuild-deps /openhands /openhands

# Appended: the base's own programs stay first, and those of the second folder come into play only where the base has
# none of the name. (A base without a PATH gets Linux's usual one.)
ENV PATH="${PATH:-/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin}:/openhands/bin:/openhands/fallback"
ENV A="b"

# What the base says about these is about a service of its own, which is not started.
HEALTHCHECK NONE
STOPSIGNAL SIGTERM
ENTRYPOINT []
CMD ["/openhands/bin/oh-action-execution-server"]

# The user's own commands, as root and in the base's own world; the image's user is the base's again.
FROM runtime AS extended
ARG OHBUILD_BASE_USER
USER 0:0
RUN --mount=type=bind,source=extra-deps,target=/run/ohbuild/extra-deps \
    --mount=type=secret,id=ca,target=/run/ohbuild/ca.crt \
    ["/openhands/bin/oh-bash", "/run/ohbuild/extra-deps/run"]
USER ${OHBUILD_BASE_USER}
LABEL org.opencontainers.image.description="An AI-agent runtime, self-contained below /openhands"
LABEL org.opencontainers.image.version="0.1.0"
LABEL org.opencontainers.image.licenses="NOASSERTION"
LABEL dev.ohbuild.version="0.1.0"
LABEL org.opencontainers.image.title="ohbuild runtime on alpine:3.23"
LABEL org.opencontainers.image.base.name="docker.io/library/alpine:3.23"
LABEL dev.ohbuild.key="92ba1e2cf4278d97645a14af400d884e89a372051c1948f8465b5a059a5cfadc"
LABEL dev.ohbuild.deps.ref="ghcr.io/x/deps:1"
LABEL dev.ohbuild.system-packages="git"
LABEL dev.ohbuild.extra-deps="16a60ff20e2f65e0ab71375af1cf7d1e9e09c428fc6c5dcc6c6edccc0b0cef50"
