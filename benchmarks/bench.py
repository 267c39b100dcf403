"""What the benchmarks share: peers in environments of their own, servers as processes, results as JSON and a plot."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "upon" / "bench"


def environment(name: str, *packages: str) -> Path:
    """The Python of a virtual environment with these packages, made on first use and kept under ~/.cache."""
    folder = CACHE / name
    python = folder / "bin" / "python"
    done = folder / "packages"
    if not done.is_file() or done.read_text() != "\n".join(packages):
        print(f"installing {', '.join(packages)} into {folder}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *packages], check=True)
        done.write_text("\n".join(packages))
    return python


def versions(python: Path | str, *packages: str) -> dict[str, str]:
    """Installed versions, by package name."""
    code = "import importlib.metadata as m, json, sys; print(json.dumps({n: m.version(n) for n in sys.argv[1:]}))"
    out = subprocess.run([python, "-c", code, *packages], check=True, capture_output=True, text=True).stdout
    found: dict[str, str] = json.loads(out)
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def server(command: list[str | Path], port: int, folder: Path = HERE, **env: str) -> Iterator[None]:
    """Run a server until the block ends. Its log is shown when it does not come up within 60 s."""
    log = CACHE / f"{Path(command[0]).parent.parent.name}-{port}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as out:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, **env},
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            _wait_for(port, process, log)
            yield
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
    log.unlink()


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise SystemExit(f"{' '.join(map(str, process.args))} did not come up:\n{log.read_text()[-3000:]}")  # type: ignore[arg-type]


def load(port: int, path: str, headers: list[str], body: str, connections: int, seconds: float) -> dict[str, Any]:
    """One round of load.py in a process of its own; any answer but a 2xx ends the benchmark."""
    command: list[str] = [sys.executable, str(HERE / "load.py"), "--port", str(port), "--path", path]
    for header in headers:
        command += ["--header", header]
    command += ["--body", body, "--connections", str(connections), "--seconds", str(seconds)]
    out = subprocess.run(command, check=True, capture_output=True, text=True, timeout=seconds + 60).stdout
    result: dict[str, Any] = json.loads(out)
    if result["bad"]:
        raise SystemExit(f"{result['bad']} answers were no 2xx; the first:\n{result['first_bad']}")
    return result


def machine() -> dict[str, Any]:
    models = [line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    return {
        "cpu": models[0] if models else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "load_before": [round(value, 2) for value in os.getloadavg()],
        "python": platform.python_version(),
        "kernel": platform.release(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _lines(path: str) -> list[str]:
    with contextlib.suppress(OSError):
        return Path(path).read_text().splitlines()
    return []


def median(rounds: list[dict[str, Any]], key: str) -> float:
    return statistics.median(float(one[key]) for one in rounds)


def save(name: str, result: dict[str, Any], bars: dict[str, float], label: str, title: str) -> None:
    """Write results/NAME.json, and results/NAME.png with one bar per entry."""
    folder = HERE / "results"
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps({**result, "plot": {"bars": bars, "label": label, "title": title}}, indent=2) + "\n")
    subprocess.run([environment("plot", "matplotlib"), HERE / "plot.py", path], check=True)
    print(f"written: {path} and {path.with_suffix('.png').name}")
