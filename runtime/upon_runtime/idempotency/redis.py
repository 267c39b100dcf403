"""A store in Redis: one key an event, one script an act. Redis removes what has expired by itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from upon import MissingExtra, UponError
from upon_runtime.idempotency.store import DEADLINE, FRESH, Begun, Finished, Held, StoreUnavailable

CONNECTIONS = 16  # at once, of this process; who finds none free waits, DEADLINE seconds at most

# A value is `?TOKEN` for a marker and `=TOKEN REPLY` for what is finished. Times are milliseconds.
BEGIN = """
local found = {}
for i, key in ipairs(KEYS) do
  local held = redis.call('GET', key)
  if not held or held == '?' .. ARGV[1] then
    redis.call('SET', key, '?' .. ARGV[1], 'PX', ARGV[2])
    found[i] = 'fresh'
  elseif held:sub(1, 1) == '=' then
    found[i] = held:sub((held:find(' ', 1, true)))
  else
    found[i] = redis.call('PTTL', key)
  end
end
return found
"""
FINISH = """
local done = {}
for i, key in ipairs(KEYS) do
  local held = redis.call('GET', key)
  local own = '=' .. ARGV[1] .. ' '
  if not held or held == '?' .. ARGV[1] or held:sub(1, #own) == own then
    redis.call('SET', key, own .. ARGV[i + 2], 'PX', ARGV[2])
    done[#done + 1] = i
  end
end
return done
"""
RELEASE = """
for _, key in ipairs(KEYS) do
  if redis.call('GET', key) == '?' .. ARGV[1] then redis.call('DEL', key) end
end
"""
EXTEND = """
local done = {}
for i, key in ipairs(KEYS) do
  if redis.call('GET', key) == '?' .. ARGV[1] then
    redis.call('PEXPIRE', key, ARGV[2])
    done[#done + 1] = i
  end
end
return done
"""


class RedisStore:
    """url: `redis://user:password@host:6379/0`, or `rediss://` for TLS. prefix: of every key."""

    name = "redis"

    def __init__(self, url: str, prefix: str) -> None:
        try:
            import redis.exceptions
        except ImportError:
            raise MissingExtra("idempotency with Redis", "redis") from None
        self._prefix = prefix
        self._errors = redis.RedisError
        self._refused = (redis.AuthenticationError, redis.exceptions.NoPermissionError)
        try:
            pool = redis.BlockingConnectionPool.from_url(
                url,
                max_connections=CONNECTIONS,
                timeout=DEADLINE,
                socket_timeout=DEADLINE,
                socket_connect_timeout=DEADLINE,
                socket_keepalive=True,
                retry=None,
                client_name="upon",
            )
        except (ValueError, TypeError):  # whose text may hold a password
            raise UponError(
                "idempotency.url is no URL of Redis: write redis://user:password@host:6379/0, or rediss:// for TLS, and"
                " percent-encode what stands for itself"
            ) from None
        self._redis = redis.Redis(connection_pool=pool)
        self._scripts = {text: self._redis.register_script(text) for text in (BEGIN, FINISH, RELEASE, EXTEND)}

    def open(self) -> None:
        """Raises UponError where Redis answers and does not let us in."""
        try:
            self._redis.ping()
        except self._refused as error:
            raise UponError(f"Redis refuses idempotency.url: {error}; correct its user and password") from None
        except self._errors as error:
            raise StoreUnavailable(f"Redis: {error}") from error

    def begin(self, keys: Sequence[str], token: str, lease: float) -> list[Begun]:
        return [_begun(found) for found in self._run(BEGIN, keys, token, _milliseconds(lease))]

    def finish(self, replies: Mapping[str, bytes], token: str, ttl: float) -> set[str]:
        keys = list(replies)
        return _those(keys, self._run(FINISH, keys, token, _milliseconds(ttl), *replies.values()))

    def release(self, keys: Sequence[str], token: str) -> None:
        self._run(RELEASE, keys, token)

    def extend(self, keys: Sequence[str], token: str, lease: float) -> set[str]:
        return _those(keys, self._run(EXTEND, keys, token, _milliseconds(lease)))

    def sweep(self, limit: int) -> int:
        return 0

    def close(self) -> None:
        self._redis.close()
        self._redis.connection_pool.disconnect()

    def _run(self, text: str, keys: Sequence[str], *arguments: Any) -> Any:
        with self._told():
            return self._scripts[text]([self._prefix + key for key in keys], arguments)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except self._errors as error:
            raise StoreUnavailable(f"Redis: {type(error).__name__}: {error}") from error


def _begun(found: bytes | int) -> Begun:
    if isinstance(found, int):
        return Held(max(found, 0) / 1000)
    return FRESH if found == b"fresh" else Finished(found[1:])


def _those(keys: Sequence[str], numbers: Sequence[int]) -> set[str]:
    return {keys[number - 1] for number in numbers}


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))
