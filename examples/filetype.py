"""What kind of file is this? One model behind a schedule, a topic and a web address."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

import upon
from upon import Event

HERE = Path(__file__).parent

magika = upon.Model("magika", "models/magika/model.onnx")
files = upon.Topic("files")


class FileType(TypedDict):
    type: str
    mime: str
    score: float


@upon.cron("* * * * *")
def publish() -> None:
    """Every minute: send the sample files to the topic."""
    for path in sorted((HERE / "samples").iterdir()):
        files.send(Event.of(path.read_bytes(), subject=path.name), key=path.name)


@upon.kafka("files", reply_to="files.typed")
@upon.batched(max_size=32)
def identify_batch(batch: list[Event]) -> list[FileType]:
    """All files that wait on the topic in one run of the model; one reply for each."""
    rows = np.stack([features(file.body) for file in batch])
    return [file_type(scores) for scores in magika.batch(bytes=rows)["target_label"]]


@upon.kafka("files.typed")
def report(batch: list[Event[FileType]]) -> None:
    """The results are on a topic now, where anybody may read them."""
    print("\n".join(f"  {file.subject} is {file.data['type']} ({file.data['score']:.0%})" for file in batch))


@upon.http("POST /identify")
def identify(event: Event) -> FileType:
    """One posted file; requests that come together share a run of the model."""
    if not event.body.strip():
        raise upon.Reject("there is nothing to look at: post a file", status=400)
    return file_type(magika(bytes=features(event.body))["target_label"])


@upon.resource
def labels() -> list[dict[str, Any]]:
    """What each output of the model stands for; read once, before the first event."""
    known: list[dict[str, Any]] = json.loads((HERE.parent / "models/magika/labels.json").read_text())
    return known


def features(content: bytes) -> NDArray[np.int32]:
    """What the model reads: the first and last 1024 bytes, stripped, with 256 where there are none."""
    begin = content[:4096].lstrip()[:1024]
    end = content[-4096:].rstrip()[-1024:]
    row = np.full(2048, 256, np.int32)
    row[: len(begin)] = np.frombuffer(begin, np.uint8)
    row[2048 - len(end) :] = np.frombuffer(end, np.uint8)
    return row


def file_type(scores: NDArray[Any]) -> FileType:
    """The best label, or just text or unknown where the model is not sure enough."""
    best = int(scores.argmax())
    label, score = labels()[best], float(scores[best])
    if score >= label["threshold"]:
        kind, mime = label["type"], label["mime"]
    else:
        kind, mime = ("txt", "text/plain") if label["text"] else ("unknown", "application/octet-stream")
    return {"type": kind, "mime": mime, "score": round(score, 3)}
