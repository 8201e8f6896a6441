"""Start-up files that bases and their users have, and what hostile ones could do. Read by ``run.py`` in a container."""

KEPT = {
    # The ones reported.
    "readonly PROMPT_COMMAND": "PROMPT_COMMAND='history -a'; readonly PROMPT_COMMAND",
    "strict": "set -euo pipefail",
    "unset variables are errors": "set -u; echo $no_such_variable; echo later",
    "tmux where there is none": '[ -z "$TMUX" ] && exec busybox-tmux-is-not-there',
    "readonly TMOUT": "readonly TMOUT=1; export TMOUT",
    "PS0": "PS0='[cmd start] '",
    "readonly PS0": "readonly PS0='[cmd start] '",
    # Every variable of a prompt, and those of the shell itself.
    "readonly PS1": "readonly PS1='$ '",
    "readonly PS2": "readonly PS2='more> '",
    "readonly PS4": "readonly PS4='+trace+ '",
    "readonly prompts": "PROMPT_COMMAND=true PS0=0 PS1=1 PS2=2 PS4=4; readonly PROMPT_COMMAND PS0 PS1 PS2 PS4",
    "readonly HISTFILE": "readonly HISTFILE=/dev/null HISTCONTROL=ignoredups",
    "readonly PATH": "readonly PATH",
    "readonly IFS": "IFS=:; readonly IFS",
    "newlines as IFS": "IFS=$'\\n'",
    "readonly TMUX": "readonly TMUX TMUX_PANE",
    # Prompts of frameworks.
    "array of prompt commands": "PROMPT_COMMAND=(true 'printf \"\\033]0;title\\007\"' false)",
    "prompt command that fails": "PROMPT_COMMAND='false'",
    "prompt command that prints": "PROMPT_COMMAND='echo noise'",
    "prompt with the exit code": "PS1='$? \\w \\$ '",
    "prompt of several lines": "PS1='\\n┌─[\\u@\\h]\\n└─$ '",
    "prompt with commands": "PS1='$(date) $(false) $ '",
    "marks of the shell integration": r"""
PS0='\e]133;C\a'
PS1='\e]133;A\a$ \e]133;B\a'
PROMPT_COMMAND='printf "\e]133;D;%s\a" $?'
""",
    "starship": """
starship_precmd() { STATUS=$?; PS1="${PWD} ❯ "; }
trap 'STARTED=$SECONDS' DEBUG
PROMPT_COMMAND=starship_precmd
""",
    "bash-preexec": r"""
__pre() { printf '\033]0;%s\007' "$BASH_COMMAND"; }
trap __pre DEBUG
PROMPT_COMMAND='history -a; trap __pre DEBUG'
""",
    # Traps.
    "trap EXIT": "trap 'echo bye' EXIT",
    "trap DEBUG": "trap 'echo debug' DEBUG",
    "trap ERR": "trap 'echo error; exit 1' ERR; set -E",
    "trap RETURN": "trap 'echo returned' RETURN; set -T",
    "trap INT": "trap 'echo interrupted; exit 9' INT",
    "trap TSTP and TERM": "trap '' TSTP TERM QUIT",
    "extdebug": "shopt -s extdebug; trap 'true' DEBUG",
    # Options.
    "xtrace": "set -x",
    "verbose": "set -v",
    "vi": "set -o vi",
    "posix": "set -o posix",
    "noglob": "set -f; set +f; set -k",
    "history expansion": "set -H; shopt -s histverify",
    "noclobber and ignoreeof": "set -o noclobber; set -o ignoreeof",
    "nullglob, failglob": "shopt -s nullglob; shopt -s extglob globstar",
    "shopts": "shopt -u expand_aliases; shopt -s autocd cdspell checkwinsize lastpipe 2>/dev/null",
    "no comments": "shopt -u interactive_comments",
    # Aliases and functions over what the protocol uses.
    "aliases": """
for name in eval exec trap set builtin declare shopt unset; do alias $name='echo no'; done
""",
    "functions": "eval() { echo no; }; exec() { echo no; }; set() { echo no; }; trap() { echo no; }; unset_me() { :; }",
    "function builtin": "builtin() { echo no; }",
    # Output and input.
    "noisy": "for i in 1 2 3 4 5 6 7 8 9; do echo welcome $i; done; printf 'no newline'",
    "binary": "head -c 4000 /dev/urandom",
    "open device control string": "printf '\\033P1;2q'",
    "colours that stay": "printf '\\033[41m\\033[5m\\016'",
    "another screen": "printf '\\033[?1049h\\033[?25l'",
    "no echo": "stty -echo raw 2>/dev/null || true",
    "output to a log": "exec > >(cat >/dev/null) 2>&1",
    "input from nowhere": "exec </dev/null",
    "returns": "case $- in *i*) return ;; esac; return 3",
    "fails": "no_such_command; cd /no/such/folder; (exit 7)",
    "syntax error": "if then fi )(",
    "background": "sleep 300 & disown; (sleep 1 &) ",
    "changes the folder": "cd /tmp",
    "a second": "sleep 1",
    "umask and limits": "umask 077; ulimit -c 0",
}
"""Name → a start-up file whose effects an agent has, such as aliases, except what the protocol must not suffer."""

LEFT_OUT = {
    "asks": "read -p 'Continue? ' answer",
    "asks for a password": "stty -echo; read -r secret",
    "asks forever": "until [ \"$answer\" = yes ]; do read -p 'Accept? ' answer || true; done",
    "starts another shell": "exec sh",
    "starts a shell within": "bash --norc; true",
    "exits": "exit 4",
    "exits after an error": "set -e; trap 'exit 5' ERR; false; false",
    "takes minutes": "sleep 300",
    "waits for a key": "cat /etc/hostname; read -n 1",
    "strict, and an unset variable": "set -euo pipefail; echo $no_such_variable; echo later",
    "strict, and a failing command": "set -e\nfalse\ntrue",
    "kills itself": "kill -9 $$",
    "loops": "while :; do :; done",
    "skips commands": "shopt -s extdebug; trap 'false' DEBUG",
    "restricted": "set -r",
    "one command": "exec cat",
}
"""Name → a start-up file that does not end, or ends the shell."""

SYSTEM = ("readonly PROMPT_COMMAND", "strict", "readonly prompts", "trap EXIT", "asks", "exits", "takes minutes")
"""Those that are also tried as the file of all users."""
