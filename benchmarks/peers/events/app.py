import upon
from upon import Event


@upon.cloudevent(type="bench.event")
def handle(event: Event) -> None:
    assert event.data["n"] == 42
