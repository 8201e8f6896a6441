"""Small components that build from nothing, on any engine, in a second, to test everything around the real ones."""

from __future__ import annotations

from pathlib import Path

from ohbuild.components.component import Component

FAKES: tuple[Component, ...] = (
    Component(name="core", description="fake core", version="1", files=("core",), wrappers=("oh-core",)),
    Component(name="python", description="fake python", version="3.13", requires=("core",), files=("python",)),
    Component(
        name="tmux",
        description="fake tmux",
        version="3.5a",
        requires=("core",),
        files=("tmux",),
        env={"OH_TMUX": 'a "$HOME" \\ b'},
    ),
)

# ohbuild's own, without the stage on Debian that real components stand on.
_COMPONENTS = """\
ARG SOURCE_DATE_EPOCH
{% for name, value in arguments.items() %}
ARG {{ name }}={{ value | dockerfile }}
{% endfor %}
{% for stage in stages %}

{{ stage.text }}
{% endfor %}
{% for name in components %}

FROM scratch AS {{ prefix }}{{ name }}
COPY --link --from={{ name }} /openhands /openhands
{% endfor %}
"""


def fake_root(folder: Path, *, seed: str = "", broken: str = "") -> Path:
    """A folder with the templates and files of ``FAKES``.

    Args:
        seed: goes into the files: another seed gives other layers.
        broken: name of a component whose build fails.
    """
    (folder / "dockerfiles" / "components").mkdir(parents=True)
    (folder / "wrappers").mkdir()
    (folder / "wrappers" / "oh-core").write_text("#!/bin/sh\necho core\n")
    (folder / "dockerfiles" / "Dockerfile.components.j2").write_text(_COMPONENTS)
    for component in FAKES:
        name = component.name
        data = folder / "dockerfiles" / name
        data.mkdir()
        (data / "data").write_text(f"{name} {seed}\n" * 1000)
        # One stage for all platforms: its folders have the time of day, which content-based caching takes no notice of.
        lines = [f"FROM --platform=$BUILDPLATFORM scratch AS {name}", f"COPY {name} /openhands/{name}"]
        lines += [f"COPY wrappers/{wrapper} /openhands/bin/{wrapper}" for wrapper in component.wrappers]
        if name == broken:
            lines.append(f"COPY {name}/missing /openhands/{name}/missing")
        (folder / "dockerfiles" / component.template).write_text("\n".join(lines) + "\n")
    return folder
