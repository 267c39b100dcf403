"""What one function did with its events, read from its log while that grows; the log's order is the order of acts."""

from __future__ import annotations

from array import array
from collections import Counter
from pathlib import Path

from chaos import behaviour
from chaos.plan import KEYS, Function

EXAMPLES = 20


class Journal:
    """settled: events that were handled or given up. repeated: how often a try of an event was made again.

    disorder: first deliveries that came before that of an earlier record of the same lane. overtaken: pairs
    (earlier, later) where the later one began before the earlier one was finished. blamed: how much of its work
    came again, by process.
    """

    def __init__(self, function: Function, folder: Path, count: int) -> None:
        self.function = function
        self.count = count
        self.settled = 0
        self.lines = 0
        self.repeated = 0
        self.torn = 0
        self.disorder: list[str] = []
        self.overtaken: list[tuple[int, int]] = []
        self.written_twice = 0
        self.blamed = Counter[int]()
        path = folder / f"{function.name}.log"
        path.touch()
        self._file = path.open("rb")
        self._rest = b""
        self._tries = Counter[tuple[int, int]]()
        self._first_tries = array("H", bytes(2 * count))
        self._finished = bytearray(count)
        self._done = bytearray(count)
        self._offsets = array("q", [-1]) * count
        self._handled_by = array("i", [0]) * count
        self._lanes: dict[int, tuple[int, int]] = {}
        self._rates = Counter[tuple[bytes, int]]()

    def close(self) -> None:
        self._file.close()

    def read(self) -> None:
        """Take note of the lines that have come since the last call."""
        *lines, self._rest = (self._rest + self._file.read()).split(b"\n")
        for line in lines:
            if line:
                self._take(line.split())

    @property
    def done(self) -> set[int]:
        return {number for number, handled in enumerate(self._done) if handled}

    @property
    def most_in_a_second(self) -> int:
        """Events that one process finished within a second."""
        return max(self._rates.values(), default=0)

    def _take(self, words: list[bytes]) -> None:
        if len(words) != 7 or words[6] != b".":
            self.torn += 1
            return
        number, attempt, answer = int(words[0]), int(words[1]), words[2].decode()
        partition, offset = _place(words[4])
        self.lines += 1
        self._count_try(number, attempt, int(words[3]))
        if self._offsets[number] < 0:
            self._came_first(number, partition, offset)
        elif self._offsets[number] != offset:
            self.written_twice += 1
        if answer == "done":
            self._done[number] = 1
        if behaviour.is_last(answer, attempt):
            self._rates[words[3], int(words[5]) // 10**9] += 1
            if not self._finished[number]:
                self._finished[number] = 1
                self.settled += 1

    def _count_try(self, number: int, attempt: int, pid: int) -> None:
        if attempt == 1:
            before = self._first_tries[number]
            self._first_tries[number] += 1
        else:
            before = self._tries[number, attempt]
            self._tries[number, attempt] += 1
        if before:
            self.repeated += 1
            self.blamed[self._handled_by[number]] += 1
        self._handled_by[number] = pid

    def _came_first(self, number: int, partition: int, offset: int) -> None:
        self._offsets[number] = offset
        lane = self.function.lane
        if lane == "none":
            return
        name = partition if lane == "partition" else number % KEYS
        before, earlier = self._lanes.get(name, (-1, -1))
        if offset < before:
            if len(self.disorder) < EXAMPLES:
                self.disorder.append(f"{lane} {name}: offset {offset} came first after {before}")
            return
        # A batch handler has the whole batch at once: there, a later record need not wait.
        if earlier >= 0 and not self._finished[earlier] and self.function.name != "batch":
            self.overtaken.append((earlier, number))
        self._lanes[name] = (offset, number)


def _place(event_id: bytes) -> tuple[int, int]:
    """Of `partition:P/offset:O`."""
    partition, _, offset = event_id.partition(b"/")
    return int(partition[10:]), int(offset[7:])
