"""Consuming Kafka: Upon against a bare poll loop, FastStream, and one POST per record, on a real broker.

Everybody reads the same topic of four partitions from its beginning, each time as a new group, with a handler that
counts. The clock starts after the first twentieth. Rounds are interleaved; medians count.

    python benchmarks/records.py            about ten minutes
    python benchmarks/records.py --quick    two minutes, one small round: whether it runs, not how fast
    python benchmarks/records.py upon       those whose name begins so
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import bench
from minilm import alone, minilm

PEERS = bench.HERE / "peers"
FOLDER = PEERS / "records"
TOPIC, MODEL_TOPIC, PARTITIONS = "in", "texts", 4
VALUE = b'{"n": 42, "text": "' + b"x" * 179 + b'"}'
RECORDS, TEXTS = 1_200_000, 4_000
LIMIT = 300.0  # seconds for one measurement
ROUNDS = 3

Run: TypeAlias = Callable[[dict[str, str]], dict[str, Any]]


@dataclass(frozen=True)
class Variant:
    """count: records that are measured in each round."""

    name: str
    count: int
    run: Run
    settings: dict[str, str]
    topic: str = TOPIC


def variants() -> list[Variant]:
    stream = bench.environment("faststream", "faststream[kafka,confluent]")

    def faststream(given: dict[str, str]) -> dict[str, Any]:
        return measured([stream, FOLDER / "faststream_app.py"], given)

    return [
        Variant("kafka-python, bare poll loop", 300_000, bare, {}),
        Variant("upon, batch", 300_000, upon, {"VARIANT": "batch"}),
        Variant("upon, batch of decoded data", 300_000, upon, {"VARIANT": "batch-data"}),
        Variant("upon, one event", 200_000, upon, {"VARIANT": "one"}),
        Variant("upon, one event, ordering=key", 150_000, upon, {"VARIANT": "key"}),
        Variant("upon, one event with a reply", 40_000, upon, {"VARIANT": "reply"}),
        Variant("upon, func triggers run", 60_000, trigger_host, {"VARIANT": "one"}),
        Variant("faststream aiokafka, one event", 4_000, faststream, {"VARIANT": "aiokafka"}),
        Variant("faststream aiokafka, batch", 200_000, faststream, {"VARIANT": "aiokafka-batch"}),
        Variant("faststream confluent, one event", 8_000, faststream, {"VARIANT": "confluent"}),
        Variant("faststream confluent, batch", 200_000, faststream, {"VARIANT": "confluent-batch"}),
        Variant("one POST per record", 5_000, posts, {}),
    ]


# Who reads


def bare(given: dict[str, str]) -> dict[str, Any]:
    return measured([sys.executable, FOLDER / "bare.py"], given)


def upon(given: dict[str, str]) -> dict[str, Any]:
    """`func serve` of a project of one function, which reads its topic itself."""
    with project(given, "direct") as folder:
        return measured([func(), "serve", folder, "--port", "0"], given)


def trigger_host(given: dict[str, str]) -> dict[str, Any]:
    """`func triggers run` beside `func serve`; what is measured is the service, and so both together."""
    port, path = bench.free_port(), Path(tempfile.mkdtemp()) / "result"
    with project(given, "host") as folder, contextlib.ExitStack() as stack:
        address = {"PORT": str(port), "HOST": "127.0.0.1", "RESULT": str(path)}
        environ = {**given, **address}
        stack.enter_context(bench.server([func(), "serve", folder], port, folder, **environ))
        sink = ["--sink", f"http://127.0.0.1:{port}", "--port", "0", "--group", given["GROUP"]]
        return measured([func(), "triggers", "run", folder, *sink], given, path)


def posts(given: dict[str, str]) -> dict[str, Any]:
    """To functions-framework, by a loop with a keep-alive connection for each partition."""
    framework, port = bench.environment("functions-framework", "functions-framework"), bench.free_port()
    command: list[str | Path] = [
        framework.parent / "functions-framework",
        *("--target", "handle", "--source", "functions_framework_app.py", "--signature-type", "cloudevent"),
        *("--host", "127.0.0.1", "--port", str(port)),
    ]
    with bench.server(command, port, PEERS):
        return measured([sys.executable, FOLDER / "posts.py"], {**given, "TARGET_PORT": str(port)})


def func() -> Path:
    return Path(sys.executable).parent / "func"


@contextlib.contextmanager
def project(given: dict[str, str], triggers: str) -> Iterator[Path]:
    settings = {
        "specVersion": "upon/v1",
        "name": given["GROUP"],
        "runtime": "python",
        "functions": ["app.py"],
        "deploy": {"triggers": triggers},
        "kafka": {"bootstrap": [given["BOOTSTRAP"]]},
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "func.yaml").write_text(json.dumps(settings))  # JSON is YAML
        for file in ("app.py", "meter.py"):
            shutil.copy(FOLDER / file, folder)
        yield folder


def measured(command: list[Any], given: dict[str, str], path: Path | None = None) -> dict[str, Any]:
    """Run a process until some process has written the result; what it found."""
    path = path or Path(tempfile.mkdtemp()) / "result"
    environ = {**os.environ, **given, "RESULT": str(path)}
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [str(part) for part in command], env=environ, stdout=log, stderr=log, start_new_session=True
        )
        try:
            deadline = time.monotonic() + LIMIT
            while not path.exists():
                if process.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    said = log.read()[-3000:].decode(errors="replace")
                    raise SystemExit(f"{command[0]} {command[1]} measured nothing:\n{said}")
                time.sleep(0.1)
        finally:
            _end(process)
    found: dict[str, Any] = json.loads(path.read_text())
    shutil.rmtree(path.parent)
    return found


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


# The broker


@contextlib.contextmanager
def broker(records: int, texts: int) -> Iterator[str]:
    """The tests' real Kafka, with both topics filled; its address."""
    sys.path.insert(0, str(bench.HERE.parent / "tests"))
    kafka = importlib.import_module("support.kafka")
    with tempfile.TemporaryDirectory() as folder:
        running = kafka.RealKafka(Path(folder))
        running.start()
        try:
            running.create_topics(TOPIC, MODEL_TOPIC, "out", partitions=PARTITIONS)
            fill(running.bootstrap, TOPIC, records, lambda number: VALUE)
            fill(running.bootstrap, MODEL_TOPIC, texts, text)
            yield running.bootstrap
        finally:
            running.stop()


def text(number: int) -> bytes:
    """A record of about 200 bytes with 32 tokens."""
    return json.dumps(
        {"ids": [101, *((number * 7919 + at * 104_729) % 29_000 + 1000 for at in range(30)), 102]}
    ).encode()


def fill(bootstrap: str, topic: str, count: int, value: Callable[[int], bytes]) -> None:
    from confluent_kafka import Producer

    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 20})
    for number in range(count):
        while True:
            try:
                producer.produce(topic, value(number), key=str(number % 1000))
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)
    producer.flush(60)


def one_round(bootstrap: str, variant: Variant, count: int) -> dict[str, Any]:
    group = f"bench-{uuid.uuid4().hex[:8]}"
    return variant.run(
        {"BOOTSTRAP": bootstrap, "TOPIC": variant.topic, "GROUP": group, "COUNT": str(count), **variant.settings}
    )


# What comes of it


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("only", nargs="*", help="beginnings of names")
    parser.add_argument("--quick", action="store_true", help="one small round, nothing is written")
    given = parser.parse_args()
    chosen = [v for v in variants() if not given.only or v.name.startswith(tuple(given.only))]
    machine, part = bench.machine(), 20 if given.quick else 1
    rounds: dict[str, list[dict[str, Any]]] = {}
    with broker(RECORDS // part, TEXTS // part) as bootstrap:
        for number in range(1 if given.quick else ROUNDS):
            for variant in chosen:
                got = one_round(bootstrap, variant, variant.count // part)
                rounds.setdefault(variant.name, []).append(got)
                say(number, variant.name, got)
        memory = one_round(bootstrap, Variant("memory", 0, upon, {"VARIANT": "one"}), RECORDS // part * 9 // 10)
        say(0, "upon, memory over the whole topic", memory)
        model = with_model(bootstrap, TEXTS // part)
    report(rounds, memory, model, machine, write=not given.quick and not given.only)


def with_model(bootstrap: str, texts: int) -> dict[str, Any]:
    """Records into MiniLM, in turns with the model alone on the same rows."""
    path, found = minilm(), {}
    rates: dict[str, list[dict[str, Any]]] = {"upon, batch into MiniLM": [], "MiniLM alone": []}
    for number in range(ROUNDS):
        variant = Variant("", 0, upon, {"VARIANT": "model", "MODEL": str(path)}, MODEL_TOPIC)
        for name in rates:
            got = alone(path) if name == "MiniLM alone" else one_round(bootstrap, variant, texts * 8 // 10)
            rates[name].append(got)
            say(number, name, got)
    found = {name: bench.median(all_rounds, "per_second") for name, all_rounds in rates.items()}
    return {
        "median": found,
        "rounds": rates,
        "ratio": round(found["upon, batch into MiniLM"] / found["MiniLM alone"], 3),
    }


def say(number: int, name: str, got: dict[str, Any]) -> None:
    cpu = f"{got['cpu_us']:8.2f} µs of CPU" if "cpu_us" in got else ""
    print(f"round {number + 1}  {name:36} {got['per_second']:10,.0f}/s  {cpu}", flush=True)


def report(
    rounds: dict[str, list[dict[str, Any]]],
    memory: dict[str, Any],
    model: dict[str, Any],
    machine: dict[str, Any],
    *,
    write: bool,
) -> None:
    rates = {name: bench.median(all_rounds, "per_second") for name, all_rounds in rounds.items()}
    loop = rates.get("kafka-python, bare poll loop")
    print(f"\n{'':36} {'records/s':>10} {'of the bare loop':>18}")
    for name, rate in rates.items():
        print(f"{name:36} {rate:10,.0f} {f'{rate / loop:18.2f}' if loop else ''}")
    print(f"\nMiniLM: {model['ratio']:.2f} of what the model alone sustains, {model['median']}")
    at = [memory[f"rss_mib_at_{share}_percent"] for share in (10, 100)]
    print(f"memory after 10 % and 100 % of {memory['records']:,} records: {at[0]} and {at[1]} MiB")
    if write:
        result = {"machine": machine, "versions": packages(), "median": rates, "ratios": ratios(rates)}
        result |= {"memory": memory, "model": model, "rounds": rounds}
        bench.save("records", result, bars(rates), "Records per second", "Kafka records of 200 bytes, one process each")


def bars(rates: dict[str, float]) -> dict[str, float]:
    """In the plot the last one is ours."""
    others = {name: rate for name, rate in rates.items() if name != "upon, batch"}
    return {**others, "upon, batch": rates["upon, batch"]}


def ratios(rates: dict[str, float]) -> dict[str, float]:
    """What the README promises, by what it is measured against."""
    loop, post = rates["kafka-python, bare poll loop"], rates["one POST per record"]
    stream = max(rates["faststream aiokafka, one event"], rates["faststream confluent, one event"])
    pairs = {
        "upon, batch / bare poll loop": rates["upon, batch"] / loop,
        "upon, one event / bare poll loop": rates["upon, one event"] / loop,
        "upon, one event / FastStream's best one by one": rates["upon, one event"] / stream,
        "upon, func triggers run / one POST per record": rates["upon, func triggers run"] / post,
    }
    return {name: round(ratio, 2) for name, ratio in pairs.items()}


def packages() -> dict[str, str]:
    stream = bench.environment("faststream", "faststream[kafka,confluent]")
    framework = bench.environment("functions-framework", "functions-framework")
    return {
        **bench.versions(sys.executable, "upon", "kafka-python", "crc32c", "onnxruntime"),
        **bench.versions(stream, "faststream", "aiokafka", "confluent-kafka"),
        **bench.versions(framework, "functions-framework"),
    }


if __name__ == "__main__":
    main()
