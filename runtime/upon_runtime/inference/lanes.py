"""The queue: one lane for each key, oldest first. Priorities between lanes belong here. Not locked by itself."""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Hashable

from upon_runtime.inference.request import Request


class Lanes:
    """Requests that wait, counted in rows."""

    __slots__ = ("_lanes", "rows")

    def __init__(self) -> None:
        self._lanes: dict[Hashable, deque[Request]] = {}
        self.rows = 0

    def __bool__(self) -> bool:
        return bool(self._lanes)

    def push(self, request: Request) -> None:
        lane = self._lanes.get(request.key)
        if lane is None:
            lane = self._lanes[request.key] = deque()
        lane.append(request)
        self.rows += request.rows

    def remove(self, request: Request) -> None:
        lane = self._lanes[request.key]
        lane.remove(request)
        self._left(request, lane)

    def rows_of(self, key: Hashable) -> int:
        return sum(request.rows for request in self._lanes.get(key, ()))

    def pop_oldest(self, without: Container[Hashable] = ()) -> Request | None:
        """Take the request that has waited longest, of all lanes but those in `without`."""
        heads = [lane[0] for key, lane in self._lanes.items() if key not in without]
        if not heads:
            return None
        oldest = heads[0] if len(heads) == 1 else min(heads, key=lambda request: request.arrived)
        return self._pop(self._lanes[oldest.key])

    def claim(self, key: Hashable, room: int) -> list[Request]:
        """Take what fits into `room` rows from one lane, in order, never past one that does not fit."""
        claimed: list[Request] = []
        lane = self._lanes.get(key)
        while lane and lane[0].rows <= room:
            request = self._pop(lane)
            room -= request.rows
            claimed.append(request)
        return claimed

    def clear(self) -> list[Request]:
        left = [request for lane in self._lanes.values() for request in lane]
        self._lanes.clear()
        self.rows = 0
        return left

    def _pop(self, lane: deque[Request]) -> Request:
        request = lane.popleft()
        self._left(request, lane)
        return request

    def _left(self, request: Request, lane: deque[Request]) -> None:
        self.rows -= request.rows
        if not lane:
            del self._lanes[request.key]
