"""Does to members and the broker what the plan says, when its moment has come, and undoes it after a while."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from itertools import count

from chaos.members import Member
from chaos.plan import Step
from support.kafka import RealKafka


class BrokerControl:
    """The broker, started again in the background: it takes seconds, in which more may happen."""

    def __init__(self, kafka: RealKafka, say: Callable[[str], None]) -> None:
        self.state = "up"
        self.error: str | None = None
        self._kafka = kafka
        self._say = say
        self._starting: threading.Thread | None = None

    def kill(self) -> None:
        self._kafka.kill()
        self.state = "down"

    def start(self) -> None:
        self.state = "starting"
        self._starting = threading.Thread(target=self._start, daemon=True)
        self._starting.start()

    def _start(self) -> None:
        try:
            self._kafka.start()
        except Exception as error:
            self.error = f"the broker did not come back: {error}"
        self._say("the broker is back")
        self.state = "up"

    def freeze(self) -> None:
        self._kafka.pause()
        self.state = "frozen"

    def thaw(self) -> None:
        self._kafka.resume()
        self.state = "up"

    def join(self) -> None:
        if self._starting is not None:
            self._starting.join()


class Monkey:
    """did: what was done, counted. Call `tick` often."""

    def __init__(
        self,
        steps: Sequence[Step],
        members: list[Member],
        broker: BrokerControl,
        add_member: Callable[[], Member],
        say: Callable[[str], None],
    ) -> None:
        self.did = Counter[str]()
        self._steps = list(steps)
        self._members = members
        self._broker = broker
        self._add_member = add_member
        self._say = say
        self._undo: list[tuple[float, int, Callable[[], None]]] = []
        self._serial = count()

    @property
    def is_done(self) -> bool:
        return not self._steps and not self._undo

    def tick(self, progress: float) -> None:
        """progress: the share of events that are done with."""
        now = time.monotonic()
        while self._undo and self._undo[0][0] <= now:
            heappop(self._undo)[2]()
        if self._steps and self._steps[0].at <= progress and self._act(self._steps[0], now):
            self._steps.pop(0)

    def undo_everything(self) -> None:
        self._steps.clear()
        while self._undo:
            heappop(self._undo)[2]()
        self._broker.join()

    def _act(self, step: Step, now: float) -> bool:
        """False when there is nobody to do it to at the moment."""
        if step.act.endswith("broker"):
            if self._broker.state != "up":
                return False
            self._to_broker(step, now)
            who = "the broker"
        elif step.act == "join":
            member = self._add_member()
            self._later(now + step.seconds, lambda: self._send_away(member))
            who = member.name
        else:
            up = [member for member in self._members if member.state == "up" and _is_meant(step, member)]
            if not up:
                return False
            who = self._to_member(step, up[step.who % len(up)], now)
        self.did[step.act] += 1
        self._say(f"{step.act}: {who}, for {step.seconds:.1f} s")
        return True

    def _to_broker(self, step: Step, now: float) -> None:
        if step.act == "kill broker":
            self._broker.kill()
            self._later(now + step.seconds, self._broker.start)
        else:
            self._broker.freeze()
            self._later(now + step.seconds, self._broker.thaw)

    def _to_member(self, step: Step, member: Member, now: float) -> str:
        if step.act.startswith("kill"):
            member.kill(step.seconds)
        elif step.act == "leave":
            member.leave(step.seconds)
        else:
            member.freeze()
            self._later(now + step.seconds, member.thaw)
        return member.name

    def _send_away(self, member: Member) -> None:
        if member.state == "up":
            member.leave(None)
        else:  # it is on its way up or down
            self._later(time.monotonic() + 0.5, lambda: self._send_away(member))

    def _later(self, due: float, act: Callable[[], None]) -> None:
        heappush(self._undo, (due, next(self._serial), act))


def _is_meant(step: Step, member: Member) -> bool:
    """Kills tell functions from those that read from Kafka; the rest may happen to both."""
    return not step.act.startswith("kill") or (step.act == "kill function") == member.name.startswith("function")
