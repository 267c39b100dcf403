"""Which dead-letter topics there are: those of the project's functions, and those that are named in full."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from upon._triggers import KafkaTrigger, check_topic
from upon_build.cli.exits import Exit, Fault
from upon_build.project.file import NAME
from upon_build.project.problems import ProjectError, did_you_mean

if TYPE_CHECKING:
    from upon_triggers.kafka.dead_letters import Archive, Span


def of_project(profile: str | None, folder: Path = Path()) -> dict[str, list[str]]:
    """Each dead-letter topic with the functions that write to it. Imports the functions; raises ProjectError."""
    from upon_build.cli.project import load
    from upon_triggers.kafka.dead_letter import dead_letter_topic

    found: dict[str, list[str]] = {}
    with load(str(folder), profile, default="dev") as project:
        if project.errors:
            raise ProjectError(project.errors)
        named = project.settings["delivery.deadLetter"]
        for one in project.functions:
            for trigger in one.function.triggers:
                if isinstance(trigger, KafkaTrigger):
                    topic = dead_letter_topic(trigger.topic, one.function.name, named)
                    if topic is not None:
                        found.setdefault(topic, []).append(one.function.name)
    return found


def to_list(topics: tuple[str, ...], profile: str | None) -> dict[str, list[str]]:
    """The topics that are named, or the project's. Raises Fault where nothing says which."""
    if topics:
        for topic in topics:
            check_topic(topic)
        return {topic: [] for topic in topics}
    if not Path(NAME).is_file():
        raise Fault(f"there is no {NAME} here that would say which functions there are: name the topics", Exit.USAGE)
    return of_project(profile)


def bounds_of(archive: Archive, name: str, profile: str | None) -> tuple[str, dict[int, Span]]:
    """A topic with what it holds; the name may be a function's. Raises Fault for a topic that is not there."""
    from upon_triggers.kafka.dead_letters import NoTopic

    check_topic(name)
    try:
        return name, archive.bounds(name)
    except NoTopic as error:
        known = error.known
    own = _of_function(name, profile)
    if len(own) == 1 and own[0] in known:
        return own[0], archive.bounds(own[0])
    if len(own) > 1:
        raise Fault(f"the function {name!r} has several dead-letter topics: name one of {', '.join(own)}", Exit.USAGE)
    if own:
        raise Fault(f"there is no topic {own[0]!r} yet: it is made when the function {name!r} is first started")
    letters = [topic for topic in known if topic.endswith(".dead")]
    raise Fault(f"there is no topic {name!r}: {did_you_mean(name, letters or known) or 'there are none at all'}")


def _of_function(name: str, profile: str | None) -> list[str]:
    if not Path(NAME).is_file():
        return []
    try:
        topics = of_project(profile)
    except ProjectError:  # the name can't be looked up; that it is no topic is what there is to say
        return []
    return sorted(topic for topic, functions in topics.items() if name in functions)
