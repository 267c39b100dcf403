"""Upon's side: one function, chosen by VARIANT, because a project reads all its topics at once."""

import os

from meter import TOPIC, VARIANT, meter

import upon
from upon import Event

if VARIANT == "model":
    import numpy as np

    minilm = upon.Model("minilm", os.environ["MODEL"])

    @upon.kafka(TOPIC)
    @upon.batched(max_size=32)
    def handle(events: list[Event]) -> None:
        ids = np.array([event.data["ids"] for event in events], dtype=np.int64)
        minilm.batch(input_ids=ids, attention_mask=np.ones_like(ids))
        meter.add(len(events))

elif VARIANT == "batch":

    @upon.kafka(TOPIC)
    @upon.batched(max_size=500)
    def handle(events: list[Event]) -> None:
        meter.add(len(events))

elif VARIANT == "batch-data":

    @upon.kafka(TOPIC)
    @upon.batched(max_size=500)
    def handle(rows: list[dict]) -> None:
        meter.add(len(rows))

elif VARIANT == "reply":

    @upon.kafka(TOPIC, reply_to="out")
    def handle(event: Event) -> dict:
        meter.add(1)
        return {"ok": True}

elif VARIANT == "key":

    @upon.kafka(TOPIC, ordering="key")
    def handle(event: Event) -> None:
        meter.add(1)

else:

    @upon.kafka(TOPIC)
    def handle(event: Event) -> None:
        meter.add(1)
