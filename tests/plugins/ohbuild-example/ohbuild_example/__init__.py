"""A component of /openhands that greets."""

from pathlib import Path

from ohbuild import Check, Component

GREETING = Component(
    name="greeting",
    description="says hello",
    version="1.2.3",
    # in the image with it: the shell of its wrapper
    requires=("core",),
    # only while it is assembled: its stage counts the modules of that Python
    builds_with=("python",),
    # by which OpenHands' requirements choose it: `ohbuild bake --agent-plugin greeting`
    plugins=("greeting",),
    # `ohbuild bake --build-arg GREETING_TEXT=Moin`
    args={"GREETING_TEXT": "Hello"},
    env={"GREETING_HOME": "/openhands/greeting"},
    wrappers=("oh-greet",),
    files=("greeting",),
    checks=(Check(name="oh-greet", command=("/openhands/bin/oh-greet", "you"), expect=r"^\S.*, you\.$"),),
    root=Path(__file__).parent,
)
