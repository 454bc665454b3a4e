"""`chatgpt2 bots`: which chat platforms there are adapters for."""

from __future__ import annotations

import click


@click.command("bots")
def bots() -> None:
    """List the bots that are installed: this package's, and those of other packages."""
    from chatgpt2.adapter import discover

    plugins = discover()
    if not plugins:
        click.echo("There are no bots.", err=True)
    width = max((len(plugin.name) for plugin in plugins), default=0)
    for plugin in plugins:
        problem = f"  cannot be used: {plugin.problem}" if plugin.problem else ""
        click.echo(f"{plugin.name:<{width}}  {plugin.package} {plugin.version}{problem}")
