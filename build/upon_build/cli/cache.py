"""`func cache`: layers, wheels and base images that builds keep on this machine, and how to get rid of them."""

from __future__ import annotations

import json

import click

from upon_build.cli.command import command, debug_option
from upon_build.project.kinds import Size

LIMIT = "20Gi"


def _bytes(context: click.Context, param: click.Parameter, value: str) -> int:
    """A size as func.yaml has it."""
    kind = Size(doc="")
    try:
        return 0 if value == "0" else int(kind.parse(value))
    except ValueError:
        raise click.BadParameter(f"{value!r} is not {kind.what()}", context, param) from None


@click.group("cache", epilog="\b\nExample:\n  func cache ls\n  func cache prune --limit 5Gi")
@debug_option
def cache() -> None:
    """What builds keep on this machine. It lies in $UPON_CACHE, by default ~/.cache/upon/build."""


form_option = click.option(
    "-o", "form", type=click.Choice(["text", "json"]), default="text", show_default=True, help="For people, or scripts."
)


@command("ls", example="func cache ls\nfunc cache ls -o json")
@form_option
def ls(form: str) -> None:
    """Show how much the cache holds, and where."""
    from upon_build.image.store import FOLDERS, Store

    store = Store.default()
    found = {name: (0, 0) for name in FOLDERS if name != "tmp"}
    for item in store.items():
        count, size = found.get(item.kind, (0, 0))
        found[item.kind] = count + 1, size + item.size
    total = sum(size for _, size in found.values())
    if form == "json":
        parts = {name: {"files": count, "bytes": size} for name, (count, size) in found.items()}
        click.echo(json.dumps({"folder": str(store.folder), "bytes": total, **parts}))
        return
    from upon_build.registry.progress import shown

    click.echo(str(store.folder))
    for name, (count, size) in found.items():
        click.echo(f"  {name:<6}  {shown(size):>10}  {count} {'file' if count == 1 else 'files'}")
    click.echo(f"  {'in all':<6}  {shown(total):>10}")


@command("prune", example="func cache prune\nfunc cache prune --limit 5Gi\nfunc cache prune --all")
@click.option(
    "--limit",
    metavar="SIZE",
    callback=_bytes,
    default=LIMIT,
    show_default=True,
    help="What may stay: that which was used last.",
)
@click.option("--all", "everything", is_flag=True, help="Nothing stays; the next build fetches everything again.")
@form_option
def prune(limit: int, everything: bool, form: str) -> None:
    """Delete what was not used for longest, until the rest fits --limit.

    What a build uses that runs meanwhile stays.
    """
    from upon_build.image.store import Store
    from upon_build.registry.progress import shown

    pruned = Store.default().prune(0 if everything else limit, keep=0)
    if form == "json":
        click.echo(json.dumps({"freed": pruned.freed, "left": pruned.left, "removed": pruned.removed}))
        return
    files = f"{pruned.removed} {'file' if pruned.removed == 1 else 'files'}"
    click.echo(f"freed {shown(pruned.freed)} in {files}; {shown(pruned.left)} left")


cache.add_command(ls)
cache.add_command(prune)
