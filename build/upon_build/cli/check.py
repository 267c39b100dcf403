"""`func check`: load everything, open every model, and say what is there and what is wrong."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

import click

from upon import Model, UponError
from upon_build.cli.command import command, output_option, own_stdout, path_argument, profile_option
from upon_build.cli.exits import Exit
from upon_build.cli.project import profile_shown
from upon_build.project import Problem, Project, load_project


@command("check", example="func check\nfunc check --profile prod -o json")
@path_argument
@profile_option("dev")
@output_option
@click.pass_context
def check(context: click.Context, path: str, profile: str | None, output: str) -> None:
    """Load the project in PATH as a start would: func.yaml, functions, models.

    Shows functions with their triggers, models with their inputs and outputs, the settings in force with where each
    comes from, and every problem with its place and remedy. Exits with 2 when there is an error.
    """
    with own_stdout(output), load_project(path, profile=profile, env=os.environ) as project:
        found = project.summary()
        opened, problems = open_models(project)
        for model in found["models"]:
            model.update(opened.get(model["name"], {}))
        found["problems"] += [problem.as_dict() for problem in problems]
        shown = profile_shown(project, profile)
    if output == "json":
        click.echo(json.dumps(found, ensure_ascii=False, default=str))
    else:
        show(found, shown)
    if any(problem["severity"] == "error" for problem in found["problems"]):
        context.exit(int(Exit.USAGE))


def open_models(project: Project) -> tuple[dict[str, dict[str, Any]], list[Problem]]:
    """What each model says of itself once it is open, by name; what can't be opened is a problem."""
    described: dict[str, dict[str, Any]] = {}
    problems = []
    known = {problem.location for problem in project.errors}
    for model in project.objects.models:
        place = project.objects.place(model)
        if place in known:  # its file is missing, and that was said already
            continue
        try:
            described[model.name] = _describe(model, project)
        except UponError as error:
            problems.append(Problem("error", place, str(error)))
    return described, problems


def _describe(model: Model, project: Project) -> dict[str, Any]:
    from upon_runtime.inference import open_served

    opened = open_served(model, folder=project.folder, observe=lambda name, rows, seconds: None)
    try:
        return {
            "provider": opened.provider,
            "batched": opened.serial_reason is None,
            "inputs": [_tensor(tensor) for tensor in opened.inputs],
            "outputs": [_tensor(tensor) for tensor in opened.outputs],
        }
    finally:
        opened.close()


def _tensor(tensor: Any) -> dict[str, Any]:
    return {"name": tensor.name, "dtype": str(tensor.dtype), "shape": list(tensor.shape)}


def show(found: Mapping[str, Any], profile: str) -> None:
    """The same for people: problems last, where they are seen."""
    click.echo(f"{found['name']}, profile {profile}")
    for function in found["functions"]:
        click.echo(f"\nfunction {function['name']}  ({function['location']})")
        for trigger in function["triggers"]:
            click.echo(f"  {_line(trigger)}")
        for name, option in function["options"].items():
            click.echo(f"  {name} = {option['value']}  ({option['origin']})")
    for model in found["models"]:
        click.echo(f"\nmodel {model['name']}  {model['path']}  {_provider(model)}")
        for side in ("inputs", "outputs"):
            for tensor in model[side]:
                shape = ", ".join("?" if size is None else str(size) for size in tensor["shape"])
                click.echo(f"  {side[:-1]:<6}  {tensor['name']}  {tensor['dtype']} [{shape}]")
    click.echo("\nsettings")
    for path, setting in found["settings"].items():
        if setting["origin"] != "default":
            click.echo(f"  {path} = {_plain(setting['value'])}  ({setting['origin']})")
    unsaid = sum(setting["origin"] == "default" for setting in found["settings"].values())
    click.echo(f"  and {unsaid} defaults, which -o json lists")
    show_problems(found["problems"])


def show_problems(problems: list[dict[str, str]]) -> None:
    click.echo()
    for problem in problems:
        text = ": ".join(part for name in ("location", "message", "remedy") if (part := problem[name]))
        colour = "red" if problem["severity"] == "error" else "yellow"
        click.secho(f"{problem['severity'].capitalize()}: {text}", fg=colour)
    errors = sum(problem["severity"] == "error" for problem in problems)
    warnings = len(problems) - errors
    if not problems:
        click.secho("no problems", fg="green")
    else:
        click.echo(f"{_count(errors, 'error')}, {_count(warnings, 'warning')}")


def _line(trigger: Mapping[str, Any]) -> str:
    hidden = {"kind", "origins", "method", "path"}
    values = {name: value for name, value in trigger.items() if name not in hidden}
    text = "  ".join(f"{name}={_plain(value)}" for name, value in values.items())
    origins = trigger.get("origins", {})
    said = "; ".join(f"{name} from {where}" for name, where in origins.items())
    return f"{trigger['kind']:<10}  {text}" + (f"  ({said})" if said else "")


def _provider(model: Mapping[str, Any]) -> str:
    if "provider" not in model:
        return "(not opened)"
    return f"{model['provider']}, " + ("items share runs" if model["batched"] else "one item at a time")


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
