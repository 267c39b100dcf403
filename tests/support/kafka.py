"""A real Apache Kafka for tests: one KRaft node, started in seconds, that can be killed, frozen and started again.

Maven fetches the broker's jars once (about 10 s, 44 MB) into ~/.cache/upon/kafka/<version>. Nothing else of this
module needs a network. The broker ends with its parent.
"""

from __future__ import annotations

import fcntl
import os
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import pytest

from support.guard import Guard

HERE = Path(__file__).resolve().parent
POM = HERE / "pom.xml"
VERSION = re.findall(r"<kafka\.version>(.*?)</", POM.read_text())[0]
CACHE = Path.home() / ".cache" / "upon" / "kafka" / VERSION
COPY_JARS = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
CLUSTER_ID = "UponTestKafkaBroker__w"  # 22 characters of URL-safe base64
JVM = ("-Xms64m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Djava.awt.headless=true")
# Below the ports that Linux gives to outgoing connections: a client that keeps dialling a dead broker on
# 127.0.0.1 could otherwise be given the broker's own port, and talk to itself.
PORTS = range(15000, 32000)
START_TIMEOUT = 120.0  # a loaded machine needs 4 to 8 s, a quiet one 2 to 3


class KafkaUnavailable(Exception):
    """This machine has no Kafka broker; the message names the command that provides one."""


def prepare() -> None:
    """Fetch the jars and format one empty data folder, unless that was done. Raises KafkaUnavailable."""
    if shutil.which("java") is None:
        raise KafkaUnavailable("no Java for the Kafka broker: apt-get install -y openjdk-17-jre-headless maven")
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / "lock", "w") as lock:  # several pytest processes may come at once
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (CACHE / "jars").is_dir():
            _fetch_jars()
        if not (CACHE / "formatted").is_dir():
            _format()


def _fetch_jars() -> None:
    if shutil.which("mvn") is None:
        raise KafkaUnavailable("no Maven to fetch the Kafka broker: apt-get install -y maven")
    part = Path(tempfile.mkdtemp(dir=CACHE))
    options = ("-DincludeScope=runtime", f"-DoutputDirectory={part}")
    command = ["mvn", "-B", "-ntp", "-q", "-f", str(POM), COPY_JARS, *options]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600)
    if done.returncode:
        shutil.rmtree(part)
        last = done.stdout.strip().splitlines()[-1:] or ["no output"]
        raise KafkaUnavailable(f"Maven could not fetch the Kafka broker ({last[0]}): {' '.join(command)}")
    part.chmod(0o755)
    part.rename(CACHE / "jars")


def _format() -> None:
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        part = Path(folder)
        (part / "properties").write_text(_properties(part / "data", 9092, 9093))
        tool = ("kafka.tools.StorageTool", "format", "--cluster-id", CLUSTER_ID, "--config", str(part / "properties"))
        subprocess.run(_java(*tool), check=True, capture_output=True, timeout=120)
        (part / "data").rename(CACHE / "formatted")


def _java(*arguments: str) -> list[str]:
    jars = os.pathsep.join(sorted(str(jar) for jar in (CACHE / "jars").glob("*.jar")))
    return ["java", *JVM, "-cp", jars, *arguments]


def _properties(data: Path, port: int, controller_port: int) -> str:
    text = (HERE / "server.properties").read_text()
    for name, value in (("port", port), ("controller_port", controller_port), ("data", data)):
        text = text.replace(f"@{name}@", str(value))
    return text


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _free_port(other: int | None = None) -> int:
    return next(port for port in random.sample(PORTS, 200) if port != other and _is_free(port))


def _brokers_listed(port: int) -> int:
    """How many live brokers the one on this port reports: a Metadata request, version 0, by hand."""
    with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
        request = struct.pack(">hhihi", 3, 0, 1, -1, 0)
        connection.sendall(struct.pack(">i", len(request)) + request)
        with connection.makefile("rb") as reply:
            head = reply.read(12)  # length, correlation id, number of brokers
    return int(struct.unpack(">iii", head)[2]) if len(head) == 12 else 0


class RealKafka:
    """One broker. After stop() or kill(), start() brings it back on the same address with the same data."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.port: int | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: Guard | None = None

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Returns once clients are served."""
        prepare()
        if not (self.folder / "data").exists():
            shutil.copytree(CACHE / "formatted", self.folder / "data")
        deadline = time.monotonic() + START_TIMEOUT
        known = self.port
        while True:
            self.port = known or _free_port()
            self._spawn()
            if self._is_ready(deadline):
                return
            self.kill()
            said = (self.folder / "kafka.log").read_text(errors="replace")[-3000:]
            # Another process may have taken a port between the look at it and the broker's bind.
            if "Address already in use" not in said or time.monotonic() > deadline:
                raise RuntimeError(f"the broker did not come up:\n{said}")

    def settings(self, controller_port: int) -> str:
        """What stands in server.properties."""
        assert self.port is not None
        return _properties(self.folder / "data", self.port, controller_port)

    def _spawn(self) -> None:
        assert self.port is not None
        settings = self.folder / "server.properties"
        settings.write_text(self.settings(_free_port(self.port)))
        with open(self.folder / "kafka.log", "wb") as log:
            self._process = subprocess.Popen(
                _java("kafka.Kafka", str(settings)),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._guard = Guard(self._process.pid)

    def _is_ready(self, deadline: float) -> bool:
        assert self._process is not None
        assert self.port is not None
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                if _brokers_listed(self.port):
                    return True
            except OSError:
                pass
            time.sleep(0.05)
        return False

    def stop(self) -> None:
        """An orderly end (SIGTERM), or SIGKILL after 20 s."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(20)
        self.kill()

    def kill(self) -> None:
        """A crash (SIGKILL)."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        if self._guard is not None:
            self._guard.dismiss()
            self._guard = None

    def pause(self) -> None:
        """Frozen: connections stay, nothing is answered (SIGSTOP)."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def create_topics(self, *names: str, partitions: int = 1, configs: Mapping[str, str] | None = None) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            from kafka import KafkaAdminClient
        admin = KafkaAdminClient(bootstrap_servers=self.bootstrap)
        options = {"num_partitions": partitions, "configs": dict(configs or {})}
        admin.create_topics(dict.fromkeys(names, options), wait_for_metadata=True)
        admin.close()


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealKafka]:
    """A broker that all tests share; one that breaks it brings it back."""
    broker = RealKafka(tmp_path_factory.mktemp("kafka"))
    try:
        broker.start()
    except KafkaUnavailable as error:
        pytest.skip(str(error))
    yield broker
    broker.stop()
