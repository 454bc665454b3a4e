"""Which adapters are installed: entry points of the group "chatgpt2.bots", from any package."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from importlib.metadata import EntryPoint, entry_points

from chatgpt2.adapter.protocols import Build
from chatgpt2.errors import AdapterError

GROUP = "chatgpt2.bots"


@dataclass(frozen=True, slots=True)
class Plugin:
    """An adapter that some package offers. `build` is None when it cannot be used, and `problem` says why."""

    name: str
    package: str
    version: str
    target: str
    build: Build | None
    problem: str | None


def discover() -> list[Plugin]:
    """Every adapter that is installed, by name; a broken one is told of, not raised."""
    return [_plugin(point) for point in sorted(entry_points(group=GROUP), key=lambda each: each.name)]


def find(name: str) -> Plugin:
    """The adapter of this name. Raises AdapterError when there is none, or two, or it is broken."""
    points = [point for point in entry_points(group=GROUP) if point.name == name]
    if not points:
        names = sorted({point.name for point in entry_points(group=GROUP)})
        near = get_close_matches(name, names, n=1)
        raise AdapterError(
            f"There is no bot {name!r}{f', did you mean {near[0]}' if near else ''}: `chatgpt2 bots` lists them."
        )
    if len({point.value for point in points}) > 1:
        owners = " and ".join(sorted(_owner(point)[0] for point in points))
        raise AdapterError(f"The bot {name!r} is offered by {owners}: uninstall one of them.")
    plugin = _plugin(points[0])
    if plugin.problem:
        raise AdapterError(f"The bot {name!r} of {plugin.package} cannot be used: {plugin.problem}.")
    return plugin


def _plugin(point: EntryPoint) -> Plugin:
    build, problem = None, None
    try:
        build = point.load()
        if not callable(build):
            build, problem = None, f"{point.value} cannot be called"
    except (Exception, SystemExit) as error:  # whatever a stranger's module does when it is imported
        problem = f"{type(error).__name__}: {error}"
    return Plugin(point.name, *_owner(point), point.value, build, problem)


def _owner(point: EntryPoint) -> tuple[str, str]:
    return ("?", "?") if point.dist is None else (point.dist.name, point.dist.version)
