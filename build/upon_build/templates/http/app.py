"""Greets whoever is named: the smallest function that takes typed data and answers."""

from dataclasses import dataclass

import upon


@dataclass
class Person:
    name: str


@upon.http("POST /greet")
def greet(person: Person) -> dict[str, str]:
    return {"greeting": f"Hello, {person.name}!"}
