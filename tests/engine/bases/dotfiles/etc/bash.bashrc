# As security guides have it.
PROMPT_COMMAND='logger "$(history 1)" 2>/dev/null'
readonly PROMPT_COMMAND
readonly TMOUT
readonly PS0='[cmd start] '
trap 'echo ended' EXIT
