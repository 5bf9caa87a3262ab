"""One HiSLIP client's session: its messages in order, its answers, its locks."""

from __future__ import annotations

import asyncio
import struct
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from hil_fixtures.instruments.hislip_frames import ErrorCode, FatalErrorCode, Frame, MessageType
from hil_fixtures.instruments.scpi_syntax import MessageSplitter

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from hil_fixtures.instruments.hislip_locks import LockTable
    from hil_fixtures.instruments.scpi_socket import MessageInstrument
    from hil_fixtures.instruments.wire import Wire

#: Largest payload this server takes; also the largest it sends before the client has said its own.
MAXIMUM_PAYLOAD: Final = 1 << 20


class Session:
    """What a client and the server know of each other.

    Parameters
    ----------
    number
        Session ID, 16 bits.
    synchronous
        The channel of messages and answers.
    instrument, locks
        Shared by all sessions.
    """

    def __init__(
        self, number: int, synchronous: Wire, instrument: MessageInstrument, locks: LockTable
    ) -> None:
        self.number: Final = number
        self._sync = synchronous
        self._async: Wire | None = None
        self._instrument = instrument
        self._locks = locks
        self._payload_limit = MAXIMUM_PAYLOAD
        self._messages: asyncio.Queue[tuple[int, bytes | None]] = asyncio.Queue()
        self._partial = bytearray()
        self._newest_id = 0
        self._unread_answer = False
        self._is_clearing = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._server = synchronous.loop.start_task(self._serve())
        self._sync_actions: Mapping[int, Callable[[Frame], None]] = MappingProxyType(
            {
                MessageType.DATA: self._take_data,
                MessageType.DATA_END: self._take_data,
                MessageType.TRIGGER: self._take_trigger,
                MessageType.DEVICE_CLEAR_COMPLETE: self._end_clear,
            }
        )
        self._async_actions: Mapping[int, Callable[[Frame], None]] = MappingProxyType(
            {
                MessageType.ASYNC_MAX_MESSAGE_SIZE: self._agree_on_size,
                MessageType.ASYNC_DEVICE_CLEAR: self._begin_clear,
                MessageType.ASYNC_STATUS_QUERY: self._answer_status,
                MessageType.ASYNC_LOCK: self._answer_lock,
                MessageType.ASYNC_LOCK_INFO: self._answer_lock_info,
                MessageType.ASYNC_REMOTE_LOCAL_CONTROL: self._answer_remote_local,
            }
        )

    def attach(self, asynchronous: Wire) -> None:
        """Take the second channel; from now on messages are carried out."""
        self._async = asynchronous

    def take_synchronous(self, frame: Frame) -> None:
        """Act on a frame of the first channel."""
        if self._async is None:
            self._fail(self._sync, FatalErrorCode.CHANNELS_NOT_ESTABLISHED)
        else:
            self._act(self._sync, self._sync_actions, frame)

    def take_asynchronous(self, frame: Frame) -> None:
        """Act on a frame of the second channel."""
        self._act(self._asynchronous, self._async_actions, frame)

    def close(self) -> None:
        """End the session: its messages and locks are forgotten, both channels closed."""
        self._server.cancel()
        for task in self._tasks:
            task.cancel()
        self._sync.loop.start_task(self._locks.forget(self.number))
        self._sync.close()
        if self._async is not None:
            self._async.close()

    @property
    def _asynchronous(self) -> Wire:
        if self._async is None:
            raise RuntimeError("the asynchronous channel is not attached")
        return self._async

    def _act(self, wire: Wire, actions: Mapping[int, Callable[[Frame], None]], frame: Frame) -> None:
        action = actions.get(frame.type)
        if action is None:
            wire.send(Frame(MessageType.ERROR, ErrorCode.UNRECOGNIZED_MESSAGE_TYPE).encoded())
        else:
            action(frame)

    def _fail(self, wire: Wire, code: FatalErrorCode) -> None:
        wire.send(Frame(MessageType.FATAL_ERROR, code).encoded())
        wire.close()

    def _take_data(self, frame: Frame) -> None:
        if self._is_clearing:
            return
        if len(frame.payload) > MAXIMUM_PAYLOAD:
            self._sync.send(Frame(MessageType.ERROR, ErrorCode.MESSAGE_TOO_LARGE).encoded())
            return
        self._note_delivery(frame)
        self._partial += frame.payload
        if frame.type == MessageType.DATA_END:
            self._messages.put_nowait((frame.parameter, bytes(self._partial)))
            self._partial.clear()

    def _take_trigger(self, frame: Frame) -> None:
        if not self._is_clearing:
            self._note_delivery(frame)
            self._messages.put_nowait((frame.parameter, None))

    def _note_delivery(self, frame: Frame) -> None:
        """Compare the client's RMT-delivered flag with what was sent (section 3.1.2)."""
        if self._unread_answer and not frame.control & 1:
            self._interrupt(frame.parameter)
        self._unread_answer = False
        self._newest_id = frame.parameter

    def _interrupt(self, message_id: int) -> None:
        self._instrument.interrupted()
        self._sync.send(Frame(MessageType.INTERRUPTED, 0, message_id).encoded())
        self._asynchronous.send(Frame(MessageType.ASYNC_INTERRUPTED, 0, message_id).encoded())

    async def _serve(self) -> None:
        while True:
            message_id, data = await self._messages.get()
            await self._locks.admitted(self.number)
            if data is None:
                self._instrument.trigger()
                continue
            splitter = MessageSplitter()
            lines = splitter.feed(data if data.endswith(b"\n") else data + b"\n")
            answer = b"".join([await self._instrument.answer(line) for line in lines])
            if answer and self._newest_id != message_id:
                self._interrupt(self._newest_id)  # the client sent on without reading
            elif answer:
                self._answer(message_id, answer)

    def _answer(self, message_id: int, answer: bytes) -> None:
        limit = self._payload_limit
        chunks = [answer[begin : begin + limit] for begin in range(0, len(answer), limit)]
        frames = [Frame(MessageType.DATA, 0, message_id, chunk) for chunk in chunks[:-1]]
        frames.append(Frame(MessageType.DATA_END, 0, message_id, chunks[-1]))
        self._unread_answer = True
        self._sync.send(b"".join(frame.encoded() for frame in frames))

    def _agree_on_size(self, frame: Frame) -> None:
        (wanted,) = struct.unpack("!Q", frame.payload)
        self._payload_limit = max(1, min(wanted, MAXIMUM_PAYLOAD))
        payload = struct.pack("!Q", MAXIMUM_PAYLOAD)
        self._reply(MessageType.ASYNC_MAX_MESSAGE_SIZE_RESPONSE, payload=payload)

    def _begin_clear(self, _frame: Frame) -> None:
        self._is_clearing = True
        self._server.cancel()
        self._messages = asyncio.Queue()
        self._partial.clear()
        self._unread_answer = False
        self._server = self._sync.loop.start_task(self._serve())
        self._reply(MessageType.ASYNC_DEVICE_CLEAR_ACKNOWLEDGE)

    def _end_clear(self, _frame: Frame) -> None:
        self._is_clearing = False
        self._sync.send(Frame(MessageType.DEVICE_CLEAR_ACKNOWLEDGE).encoded())

    def _answer_status(self, frame: Frame) -> None:
        if frame.control & 1:
            self._unread_answer = False
        self._reply(MessageType.ASYNC_STATUS_RESPONSE, self._instrument.status_byte(self._unread_answer))

    def _answer_lock(self, frame: Frame) -> None:
        if frame.control not in (0, 1):
            wire = self._asynchronous
            wire.send(Frame(MessageType.ERROR, ErrorCode.UNRECOGNIZED_CONTROL_CODE).encoded())
            return
        self._start(self._lock(frame))

    async def _lock(self, frame: Frame) -> None:
        if frame.control == 1:
            patience = frame.parameter / 1000.0
            response = await self._locks.request(self.number, frame.payload, patience)
        else:
            response = await self._locks.release(self.number)
        self._reply(MessageType.ASYNC_LOCK_RESPONSE, response)

    def _answer_lock_info(self, _frame: Frame) -> None:
        locks = self._locks
        self._reply(MessageType.ASYNC_LOCK_INFO_RESPONSE, int(locks.is_exclusive), locks.holder_count)

    def _answer_remote_local(self, _frame: Frame) -> None:
        self._reply(MessageType.ASYNC_REMOTE_LOCAL_RESPONSE)

    def _reply(self, kind: MessageType, control: int = 0, parameter: int = 0, payload: bytes = b"") -> None:
        self._asynchronous.send(Frame(kind, control, parameter, payload).encoded())

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = self._sync.loop.start_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
