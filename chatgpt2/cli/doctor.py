"""`chatgpt2 doctor`: what works on this machine, and what to fix."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from chatgpt2.cli.checks import Finding


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_context
def doctor(ctx: click.Context, as_json: bool) -> None:
    """Say what works on this machine and what to fix.

    Exits with status 1 when something needs fixing. Nothing is changed or downloaded.
    """
    from chatgpt2.cli.checks import examine

    findings = []
    for finding in examine(ctx.find_root().params.get("config")):
        findings.append(finding)
        if not as_json:
            _show(finding)
    wrong = [finding for finding in findings if finding.fix]
    if as_json:
        report = {"ok": not wrong, "findings": [asdict(finding) for finding in findings]}
        click.echo(json.dumps(report, ensure_ascii=False, indent=2))
    else:
        click.echo(_verdict(wrong))
    ctx.exit(1 if wrong else 0)


def _show(finding: Finding) -> None:
    mark = click.style("FIX", fg="red", bold=True) if finding.fix else click.style(" ok", fg="green")
    click.echo(f"{mark}  {finding.name:<14}  {finding.value}")
    if advice := finding.fix or finding.hint:
        click.echo(f"     {'':<14}  → {advice}")


def _verdict(wrong: Sequence[Finding]) -> str:
    if not wrong:
        return click.style("All is well.", fg="green")
    things = "One thing needs" if len(wrong) == 1 else f"{len(wrong)} things need"
    return click.style(f"{things} fixing: {', '.join(finding.name for finding in wrong)}.", fg="red")
