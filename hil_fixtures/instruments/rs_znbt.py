"""An R&S ZNBT8 of up to 24 ports on HiSLIP and on a raw TCP socket, both talking to the same instrument.

Written from the R&S ZNB/ZNBT user manual 1173.9163.02 (versions 38 to 62). True here: the settings, traces,
S-parameter group, segmented and time sweeps, external trigger, overlapped single sweeps, averaging, data
formats, status and error queue that bench work needs; noise by IF bandwidth and power; not-a-number before
the first sweep and after a change of the frequency axis. Not here: display, markers, limits, files, balanced
ports, arbitrary mode, the rise of the IF filter in time sweeps; systematic errors are the device's to show
(`displayed`).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Self

import numpy as np

from hil_fixtures.instruments import znbt_results, znbt_segments, znbt_stimulus, znbt_system
from hil_fixtures.instruments.device_under_test import Switched, displayed
from hil_fixtures.instruments.faults import AnalyzerFaults, LinkFaults
from hil_fixtures.instruments.hislip import HislipServer
from hil_fixtures.instruments.scpi_socket import RawSocket
from hil_fixtures.instruments.scpi_syntax import ERROR_TEXTS, ScpiError
from hil_fixtures.instruments.scpi_tree import CommandTree, StatusRegisters, execute
from hil_fixtures.instruments.wire import BackgroundLoop, TcpServer, shared_loop
from hil_fixtures.instruments.znbt_channel import Channel, SweepResult
from hil_fixtures.instruments.znbt_receiver import average_weights, observe, observe_without_rf

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from numpy.typing import NDArray

    from hil_fixtures.instruments.device_under_test import DeviceUnderTest
    from hil_fixtures.instruments.znbt_channel import Stimulus


class RsZnbt:
    """The instrument and its two servers.

    Parameters
    ----------
    device
        What is connected; ports beyond its own are open.
    port_count
        Test ports.
    time_scale
        Wall seconds per second of sweep; 0 lets sweeps take no time.
    seed
        Of all noise.
    hislip_port, socket_port
        0 takes free ones.
    calibrations
        Correction files in the instrument's pool, with the ports each one covers.
    """

    def __init__(
        self,
        device: DeviceUnderTest,
        *,
        port_count: int = 16,
        time_scale: float = 0.0,
        seed: int = 0,
        hislip_port: int = 0,
        socket_port: int = 0,
        calibrations: Mapping[str, tuple[int, ...]] | None = None,
    ) -> None:
        self.port_count: Final = port_count
        self.status: Final = StatusRegisters()
        self.faults: Final = AnalyzerFaults()
        self.link_faults: Final = LinkFaults(seed)
        self.calibrations: Final = dict(calibrations or {"array.cal": tuple(range(1, port_count + 1))})
        self.channels: Final[dict[int, Channel]] = {}
        self._device = device
        self._time_scale = time_scale
        self._seed = seed
        self._sweeps_begun = 0
        self._running: dict[int, asyncio.Task[None]] = {}
        self._untriggered: dict[int, asyncio.Event] = {}
        self._continuous_since: dict[int, float] = {}
        self._completion_wanted = False
        self._tree = CommandTree()
        for commands in (znbt_system, znbt_stimulus, znbt_segments, znbt_results):
            commands.add_commands(self._tree, self)
        self._loop: BackgroundLoop | None = None
        self._hislip = HislipServer(self, port=hislip_port, shape=self.link_faults)
        self._socket = TcpServer(lambda wire: RawSocket(wire, self), port=socket_port, shape=self.link_faults)
        self.data_format = "ASC"
        self.is_little_endian = True
        self.is_rf_on = False
        self.active_channel = 1
        self.triggers_all_channels = False

    @property
    def hislip_resource(self) -> str:
        """VISA resource name of the HiSLIP server."""
        return self._hislip.resource

    @property
    def socket_address(self) -> tuple[str, int]:
        """Host and port of the raw socket."""
        return self._socket.address

    @property
    def socket_resource(self) -> str:
        """VISA resource name of the raw socket."""
        host, port = self.socket_address
        return f"TCPIP::{host}::{port}::SOCKET"

    def start(self) -> Self:
        """Switch on: preset, RF on, sweeping continuously, both servers listening.

        Raises
        ------
        OSError
            A port is taken; nothing is left running.
        """
        if self._loop is None:
            self._loop = shared_loop.acquire()
            try:
                self._loop.run(self._switch_on())
                self._hislip.start()
                self._socket.start()
            except BaseException:
                self.close()
                raise
        return self

    def hang_up(self) -> None:
        """Reset every connection; the instrument goes on."""
        self._hislip.hang_up()
        self._socket.hang_up()

    def close(self) -> None:
        """Switch off: connections end, RF is off; may be called twice."""
        loop, self._loop = self._loop, None
        if loop is not None:
            try:
                self._hislip.close()
                self._socket.close()
                loop.run(self._switch_off())
            finally:
                shared_loop.release()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def answer(self, message: str, /) -> bytes:
        """Carry out a message."""
        return await execute(message, self._tree, self.status)

    def trigger(self) -> None:
        """Ignore bus triggers: sweeps start by INITiate here."""

    def external_trigger(self) -> None:
        """Take a pulse at the trigger input: sweeps that wait for it begin; any thread may call this."""
        loop = self._loop
        if loop is not None:
            loop.call_soon(self._release)

    def status_byte(self, message_available: bool, /) -> int:
        """Return the status byte."""
        return self.status.status_byte(message_available)

    def interrupted(self) -> None:
        """Report query error -410."""
        self.status.report(-410, ERROR_TEXTS[-410])

    def reset(self) -> None:
        """Preset (``*RST``, ``SYSTem:PRESet``): one channel, one trace, ASCII, little-endian, RF on."""
        self.abort()
        self.channels.clear()
        self.channels[1] = Channel(1)
        self.channels[1].add_trace("Trc1", (1, 1))
        self.data_format = "ASC"
        self.is_little_endian = True
        self.active_channel = 1
        self.triggers_all_channels = False
        self.switch_rf(True)
        self.restart(self.channels[1])

    def switch_rf(self, on: bool) -> None:
        """Switch the source of all ports."""
        self.is_rf_on = on
        self._device.rf_output("analyzer", on)

    def channel(self, number: int) -> Channel:
        """Return an existing channel.

        Raises
        ------
        ScpiError
            There is none of that number (-114).
        """
        if number not in self.channels:
            raise ScpiError(-114)
        return self.channels[number]

    def ensured_channel(self, number: int) -> Channel:
        """Return a channel, made if need be, as trace definitions do."""
        if number not in self.channels:
            self.channels[number] = Channel(number)
            self.restart(self.channels[number])
        return self.channels[number]

    def delete_channel(self, number: int) -> None:
        """Delete a channel and its traces."""
        self._stop(number)
        del self.channels[number]

    def set_continuous(self, channel: Channel, on: bool) -> None:
        """Sweep for ever, or once at each INITiate."""
        self._stop(channel.number)
        channel.is_continuous = on
        self.restart(channel)

    def restart(self, channel: Channel) -> None:
        """Begin the running sweep anew, as every change of a sweep's settings does."""
        self._continuous_since[channel.number] = asyncio.get_running_loop().time()
        if channel.number in self._running and not channel.is_continuous:
            self.initiate(channel)

    def initiate(self, channel: Channel) -> None:
        """Start a single sweep cycle; returns at once (INITiate is an overlapped command)."""
        self._stop(channel.number)
        if channel.is_continuous:
            self.restart(channel)
            return
        if self._loop is not None:
            if channel.trigger == "EXT":
                self._untriggered[channel.number] = asyncio.Event()
            task = self._loop.start_task(self._sweep(channel))
            self._running[channel.number] = task
            task.add_done_callback(lambda done: self._finished(channel.number, done))

    def abort(self) -> None:
        """Stop all sweeps."""
        for number in tuple(self._running):
            self._stop(number)

    async def wait(self) -> None:
        """Wait until no overlapped sweep is running."""
        while self._running:
            await asyncio.wait(tuple(self._running.values()))

    def complete_later(self) -> None:
        """Set the operation complete bit when no sweep is running (``*OPC``)."""
        self._completion_wanted = True
        self._note_completion()

    async def refreshed(self, number: int) -> Channel:
        """Return a channel; if it sweeps continuously, with the data of its last complete sweep."""
        channel = self.channel(number)
        if channel.is_continuous and channel.trigger == "IMM" and not self.faults.stop_mid_sweep:
            stimulus = channel.stimulus()
            now = asyncio.get_running_loop().time()
            if now - self._continuous_since[number] >= stimulus.duration * self._time_scale:
                await self._acquire(channel, stimulus, 1)
                self._continuous_since[number] = now
        return channel

    async def _switch_on(self) -> None:
        self.reset()

    async def _switch_off(self) -> None:
        self.abort()
        self.switch_rf(False)

    async def _sweep(self, channel: Channel) -> None:
        stimulus = channel.stimulus()
        pulse = self._untriggered.get(channel.number)
        if pulse is not None:
            await pulse.wait()
        half = 0.5 * stimulus.duration * channel.sweep_count * self._time_scale
        await asyncio.sleep(half)
        if self.faults.stop_mid_sweep:
            await asyncio.get_running_loop().create_future()
        await self._acquire(channel, stimulus, channel.sweep_count, is_triggered=pulse is not None)
        await asyncio.sleep(half)

    async def _acquire(
        self, channel: Channel, stimulus: Stimulus, sweeps: int, *, is_triggered: bool = False
    ) -> None:
        """Measure ``sweeps`` sweeps of the device as it is now and add them to the average."""
        loop = self._loop
        if loop is None:
            return
        self._sweeps_begun += 1
        random = np.random.default_rng([self._seed, self._sweeps_begun])
        factor = channel.average_count if channel.is_averaging else 1
        old, noise = average_weights(channel.averaged_sweeps if factor > 1 else 0, sweeps, factor)
        before = channel.result
        true = await loop.in_worker(self._scattering, stimulus, is_triggered)
        if self.is_rf_on:
            seen = observe(true, stimulus, noise, random)
        else:
            seen = observe_without_rf(true.shape, random)
        if old > 0.0 and before is not None and before.scattering.shape == seen.shape:
            seen += old * (before.scattering - true)
        if self.faults.not_a_number:
            seen = np.full_like(seen, complex(np.nan, np.nan))
        if self.faults.sweep_error is not None:
            self.status.report(*self.faults.sweep_error)
        channel.result = SweepResult(stimulus.axis, seen, channel.measured_parameters())
        channel.averaged_sweeps += sweeps
        channel.completed_sweeps = sweeps

    def _scattering(self, stimulus: Stimulus, is_triggered: bool) -> NDArray[np.complex128]:
        """Return S of all test ports; those with nothing connected reflect everything."""
        device, connected = self._device, self._device.port_count
        scattering = np.zeros((stimulus.axis.size, self.port_count, self.port_count), dtype=np.complex128)
        scattering[:, range(connected, self.port_count), range(connected, self.port_count)] = 1.0
        if stimulus.times is None:
            own = displayed(device, stimulus.frequencies)
        elif is_triggered and isinstance(device, Switched):
            own = device.transient(float(stimulus.frequencies[0]), stimulus.times)
        else:
            own = displayed(device, stimulus.frequencies[:1])
        scattering[:, :connected, :connected] = own
        return scattering

    def _release(self) -> None:
        pulses, self._untriggered = self._untriggered, {}
        for pulse in pulses.values():
            pulse.set()

    def _stop(self, number: int) -> None:
        self._untriggered.pop(number, None)
        task = self._running.pop(number, None)
        if task is not None:
            task.cancel()
        self._note_completion()

    def _finished(self, number: int, task: asyncio.Task[None]) -> None:
        if self._running.get(number) is task:
            del self._running[number]
        self._note_completion()

    def _note_completion(self) -> None:
        if self._completion_wanted and not self._running:
            self._completion_wanted = False
            self.status.complete_operation()
