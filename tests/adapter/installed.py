"""Packages as pip leaves them: a module and its dist-info, on a path of their own."""

from __future__ import annotations

from pathlib import Path


def install(site: Path, package: str, version: str, source: str, **entries: str) -> None:
    """A package with one module, called as itself, and entry points of the group chatgpt2.bots."""
    module = package.replace("-", "_")
    about = site / f"{module}-{version}.dist-info"
    about.mkdir(parents=True)
    (site / f"{module}.py").write_text(source, encoding="utf-8")
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
    lines = [f"{name} = {target}" for name, target in entries.items()]
    (about / "entry_points.txt").write_text("\n".join(["[chatgpt2.bots]", *lines]) + "\n")
