"""One container of a pod: started, watched over, started again, and told of as Kubernetes does."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from support.cluster.images import PullError, as_asked
from support.cluster.probing import Probes, request
from support.cluster.process import Mount, Process, start, unstamped
from support.cluster.rest import ApiFault
from support.cluster.volumes import ConfigError, expanded

if TYPE_CHECKING:
    from support.cluster.pod import Pod

FIRST_BACKOFF, LONGEST_BACKOFF = 1.0, 10.0  # seconds; a kubelet's are ten and three hundred
FORGIVEN = 60.0  # seconds after which a container has run well
STOP_AFTER_LIVENESS = 5.0
MESSAGE = 2048  # bytes of a log that tell why a container ended


def now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


class Container:
    """state and last: as `state` and `lastState` of a pod's status."""

    def __init__(self, pod: Pod, spec: Mapping[str, Any]) -> None:
        self.spec = spec
        self.name = str(spec["name"])
        self.state: dict[str, Any] = {"waiting": {"reason": "ContainerCreating"}}
        self.last: dict[str, Any] = {}
        self.restarts = 0
        self.ready = False
        self.started = False
        self.process: Process | None = None
        self._pod = pod
        self._probes = Probes(spec, 0.0)

    @property
    def up(self) -> bool:
        return "running" in self.state

    def status(self) -> dict[str, Any]:
        image = self.spec["image"]
        shared = {"name": self.name, "image": image, "imageID": image, "restartCount": self.restarts}
        return {
            **shared,
            "ready": self.ready,
            "started": self.started and self.up,
            "state": self.state,
            "lastState": self.last,
        }

    def supervise(self) -> None:
        """Start it again and again, with longer pauses, until the pod ends or its policy says so."""
        pause, ending = FIRST_BACKOFF, self._pod.ending
        while not ending.is_set():
            if self._begin():
                began = time.monotonic()
                self._pod.tell()
                assert self.process is not None
                code = self.process.wait()
                if ending.is_set() or not self._ended(code):
                    return
                pause = FIRST_BACKOFF if time.monotonic() - began > FORGIVEN else pause
            self._pod.tell()
            ending.wait(pause)
            pause = min(pause * 2, LONGEST_BACKOFF)

    def look(self) -> None:
        """Its probes, those that are due."""
        process = self.process
        if process is None or not self.up:
            self.ready = False
            return
        address, enter = self._pod.address, process.enter(self._pod.net)
        if not self.started:
            self.started = self._probes.has_started(address, enter)
        else:
            self.ready = self._probes.is_ready(self.ready, address, enter)
        if self._probes.has_failed(self.started, address, enter):
            self._pod.log(f"{self.name}: a probe failed too often")
            process.signal(signal.SIGTERM)
            threading.Timer(STOP_AFTER_LIVENESS, process.kill).start()

    def stop(self, left: Callable[[], float]) -> None:
        """preStop, then SIGTERM. left: seconds until whatever still runs is killed."""
        self.ready = False
        hook = ((self.spec.get("lifecycle") or {}).get("preStop") or {}).get("httpGet")
        if hook and self.up:
            self._pre_stop(hook, left)
        if self.process is not None:
            self.process.signal(signal.SIGTERM)
            while self.process.running and left() > 0:
                time.sleep(0.05)

    def _pre_stop(self, hook: Mapping[str, Any], left: Callable[[], float]) -> None:
        """The hook's answer is waited for, not longer than there is time or a process."""
        asked = threading.Thread(target=request, args=(self.spec, hook, self._pod.address, max(1.0, left())))
        asked.daemon = True
        asked.start()
        while asked.is_alive() and left() > 0 and self.process is not None and self.process.running:
            asked.join(0.05)

    # Its beginning and its end

    def _begin(self) -> bool:
        pod, spec = self._pod, self.spec
        try:
            runnable = as_asked(pod.node.images.resolve(spec["image"]), spec.get("securityContext") or {})
            env = pod.sources.env(spec, runnable, pod.node.api)
        except PullError as error:
            reason = (
                "ImagePullBackOff" if self.state.get("waiting", {}).get("reason") == "ErrImagePull" else "ErrImagePull"
            )
            self.state = {"waiting": {"reason": reason, "message": str(error)}}
            return False
        except (ConfigError, ApiFault, OSError, ValueError) as error:
            self.state = {"waiting": {"reason": "CreateContainerConfigError", "message": str(error)}}
            return False
        said = [expanded(part, env) for part in spec.get("command") or []]
        arguments = [expanded(part, env) for part in spec.get("args") or []]
        log = pod.log_of(self.name)
        if self.restarts and log.exists():
            log.replace(pod.log_of(self.name, previous=True))
        self.started, self._probes = False, Probes(spec, time.monotonic())
        self.process = start(
            runnable, runnable.command(said, arguments), env, self._mounts(), namespace=pod.net, log=log
        )
        self.state = {"running": {"startedAt": now()}}
        if pod.ending.is_set():
            self.process.kill()
        return True

    def _mounts(self) -> list[Mount]:
        node = self._pod.node
        found = [Mount(node.hosts, "/etc/hosts"), Mount(node.resolv, "/etc/resolv.conf")]
        for one in self.spec.get("volumeMounts") or []:
            source = self._pod.volumes.get(one["name"])
            if source is not None:
                part = source / one["subPath"] if one.get("subPath") else source
                found.append(Mount(part, one["mountPath"], bool(one.get("readOnly"))))
        return found

    def _ended(self, code: int) -> bool:
        """Whether it is to be started again."""
        self.ready = False
        ended: dict[str, Any] = {
            "exitCode": code,
            "reason": "Completed" if code == 0 else "Error",
            "startedAt": self.state["running"]["startedAt"],
            "finishedAt": now(),
        }
        if code and self.spec.get("terminationMessagePolicy") == "FallbackToLogsOnError":
            ended["message"] = _tail(self._pod.log_of(self.name))
        self.last = {"terminated": ended}
        policy = self._pod.thing["spec"].get("restartPolicy", "Always")
        if policy == "Never" or (policy == "OnFailure" and code == 0):
            self.state = {"terminated": ended}
            self._pod.tell()
            return False
        message = f"back-off restarting failed container={self.name} pod={self._pod.name}"
        self.state = {"waiting": {"reason": "CrashLoopBackOff", "message": message}}
        self.restarts += 1
        return True


def _tail(log: Path) -> str:
    return unstamped(log.read_bytes())[-MESSAGE:].decode(errors="replace") if log.exists() else ""
