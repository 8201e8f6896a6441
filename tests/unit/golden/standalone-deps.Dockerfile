ARG SOURCE_DATE_EPOCH=1735689600

FROM scratch AS core
COPY core /openhands/core
COPY wrappers/oh-core /openhands/bin/oh-core

FROM scratch AS python
COPY python /openhands/python

FROM scratch AS tmux
COPY tmux /openhands/tmux

FROM scratch AS deps
COPY --link opaque /openhands
COPY --link --from=core /openhands /openhands
COPY --link --from=python /openhands /openhands
COPY --link --from=tmux /openhands /openhands
ENV OH_TMUX="a \"\$HOME\" \\ b"
LABEL org.opencontainers.image.description="An AI-agent runtime, self-contained below /openhands"
LABEL org.opencontainers.image.version="0.1.0"
LABEL org.opencontainers.image.licenses="NOASSERTION"
LABEL dev.ohbuild.version="0.1.0"
LABEL dev.ohbuild.components="core,python,tmux"
LABEL dev.ohbuild.component.core="1"
LABEL dev.ohbuild.component.python="3.13"
LABEL dev.ohbuild.component.tmux="3.5a"
LABEL org.example.note="quoted \"\${x}\""
LABEL org.opencontainers.image.title="ohbuild deps"
LABEL dev.ohbuild.deps.key="9b31d872851af29b94b5eedc00b8a30c1fcff95df8fb35c7acc351a8ad2b2bd2"
