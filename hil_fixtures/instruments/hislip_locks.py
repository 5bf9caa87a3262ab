"""Locks of a HiSLIP server (IVI-6.1 revision 1.1, section 6.5)."""

from __future__ import annotations

import asyncio
from enum import IntEnum
from typing import Final


class LockResponse(IntEnum):
    """Control codes of AsyncLockResponse; table 16."""

    FAILURE = 0
    SUCCESS = 1
    SUCCESS_SHARED_RELEASED = 2
    ERROR = 3


class LockTable:
    """Who holds which lock on one instrument; sessions are known by their numbers."""

    def __init__(self) -> None:
        self._exclusive: int | None = None
        self._shared: dict[int, bytes] = {}
        self._changed: Final = asyncio.Condition()

    @property
    def is_exclusive(self) -> bool:
        """Whether an exclusive lock is granted."""
        return self._exclusive is not None

    @property
    def holder_count(self) -> int:
        """Number of sessions that hold a lock."""
        return len({*self._shared, *(() if self._exclusive is None else (self._exclusive,))})

    async def request(self, session: int, name: bytes, patience: float) -> LockResponse:
        """Wait at most ``patience`` seconds for a lock: a shared one if it has a name, else the exclusive."""
        if (name and session in self._shared) or self._exclusive == session:
            return LockResponse.ERROR
        async with self._changed:
            if not self._is_free(session, name):
                try:
                    async with asyncio.timeout(patience):
                        await self._changed.wait_for(lambda: self._is_free(session, name))
                except TimeoutError:
                    return LockResponse.FAILURE
            if name:
                self._shared[session] = name
            else:
                self._exclusive = session
            return LockResponse.SUCCESS

    async def release(self, session: int) -> LockResponse:
        """Give back the session's exclusive lock or, when it has none, its shared one."""
        async with self._changed:
            if self._exclusive == session:
                self._exclusive = None
                response = LockResponse.SUCCESS
            elif self._shared.pop(session, None) is not None:
                response = LockResponse.SUCCESS_SHARED_RELEASED
            else:
                return LockResponse.ERROR
            self._changed.notify_all()
            return response

    async def forget(self, session: int) -> None:
        """Give back all locks of a session that has gone."""
        async with self._changed:
            self._shared.pop(session, None)
            if self._exclusive == session:
                self._exclusive = None
            self._changed.notify_all()

    async def admitted(self, session: int) -> None:
        """Wait until no other session's lock keeps this one's messages out."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._admits(session))

    def _admits(self, session: int) -> bool:
        if self._exclusive is not None:
            return self._exclusive == session
        return not self._shared or session in self._shared

    def _is_free(self, session: int, name: bytes) -> bool:
        if self._exclusive is not None:
            return False
        if name:
            return all(held == name for held in self._shared.values())
        return not self._shared or session in self._shared
