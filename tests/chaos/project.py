"""The project that the members run, written to disk."""

from __future__ import annotations

import shutil
from pathlib import Path

from chaos import behaviour
from chaos.plan import FUNCTIONS, REPLIES, SERVICE, Plan
from support.kafka import RealKafka

HERE = Path(__file__).parent

SETTINGS = """\
specVersion: upon/v1
name: {service}
functions: [service.py]
run: {{drainDelay: 0}}
deploy: {{triggers: {triggers}}}
delivery: {{retry: {retry}, backoffDelay: PT0.02S, maxInFlight: {max_in_flight}}}
kafka: {{bootstrap: "{bootstrap}", sessionTimeout: {session}}}
"""


def write_project(folder: Path, plan: Plan, bootstrap: str) -> None:
    folder.mkdir(parents=True)
    for name in ("service.py", "behaviour.py"):
        shutil.copy(HERE / name, folder / name)
    settings = SETTINGS.format(
        service=SERVICE,
        triggers=plan.mode,
        retry=behaviour.RETRY,
        max_in_flight=plan.max_in_flight,
        bootstrap=bootstrap,
        session=plan.session,
    )
    (folder / "func.yaml").write_text(settings)


def create_topics(kafka: RealKafka, plan: Plan) -> None:
    topics = [topic for function in FUNCTIONS for topic in (function.topic, function.dead_topic)]
    kafka.create_topics(*topics, REPLIES, partitions=plan.partitions)
