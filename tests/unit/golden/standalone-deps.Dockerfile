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
