"""A small honest bench in memory: a scanner that reads the Pulseq text and receivers with a real CIC.

It shares no code with the acquisition: pypulseq reads the sequence, running sums make the filter, and the
object is a handful of points whose signal is an exact sum.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pypulseq
import pytest

from coilbench.base.errors import RunAborted
from coilbench.base.nuclei import nucleus
from drivers.protocols import ReceiveBlock, ReceivePlan, ReceiveSetting, never

STAGES = 6


@dataclass
class PointObject:
    """Points in m with weights, seen by channels with complex sensitivities."""

    positions: np.ndarray
    weights: np.ndarray
    sensitivities: np.ndarray

    def signal(self, k: np.ndarray) -> np.ndarray:
        """Return the exact signal at k of shape (..., 3) in cycles/m."""
        return np.exp(-2j * np.pi * (k @ self.positions.T)) @ self.weights


@dataclass
class FakeBench:
    """What scanner and receiver share: the triggers, the spins and what goes wrong."""

    spins: PointObject
    #: Noise power density in V²/Hz at the receivers' input.
    noise_density: float = 0.0
    #: Added to the length of every repetition, as a scanner with another TR would.
    stretch: float = 0.0
    log: list[str] = field(default_factory=list)
    rf: bool = False
    armed: int = 0
    windows: list[np.ndarray] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.scanner = FakeScanner(self)
        self.receiver = FakeReceiver(self)


class FakeScanner:
    """Plays what the text says."""

    def __init__(self, bench: FakeBench) -> None:
        self.bench = bench
        self.b0 = 3.0
        self.name = "scanner (in memory)"
        self.identity = "fake"
        self.spokes: list[tuple[float, np.ndarray, np.ndarray]] = []
        self.carrier = 0.0
        self.ignored_triggers = 0

    def load(self, sequence: str, /) -> int:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "x.seq"
            path.write_text(sequence, encoding="utf-8")
            parsed = pypulseq.Sequence()
            parsed.read(str(path))
        self.carrier = float(parsed.definitions["TransmitFrequency_Hz"])
        self.spokes = []
        start = 0.0
        for number, duration in parsed.block_durations.items():
            block = parsed.get_block(number)
            if getattr(block, "trigger", None):
                (trigger,) = block.trigger.values()
                raster = 10e-6
                edges = block.gx.delay + np.arange(block.gx.waveform.size + 1) * raster - trigger.delay
                axes = (block.gx, block.gy, block.gz)
                k = np.stack([np.concatenate(([0.0], np.cumsum(axis.waveform) * raster)) for axis in axes])
                self.spokes.append((start + trigger.delay, edges, k))
            start += duration
        return len(self.spokes) - self.ignored_triggers

    def enable_rf(self, enabled: bool, /) -> None:
        self.bench.rf = enabled
        self.bench.log.append(f"rf {enabled}")

    def play(self, first: int, count: int, /) -> None:
        bench = self.bench
        assert bench.armed == count, "the receivers must be armed before the scanner plays"
        bench.log.append(f"play {first} {count}")
        first_trigger = self.spokes[0][0]
        for number in range(first, first + count):
            trigger, edges, k = self.spokes[number]
            moment = trigger - first_trigger + number * bench.stretch
            bench.windows.append(bench.receiver.sample(moment, self.carrier, edges, k))

    def wait(self, *, abort=never) -> None:
        self.bench.log.append(f"wait {abort()}")

    def make_safe(self) -> None:
        self.bench.rf = False
        self.bench.log.append("safe")

    def close(self) -> None:
        self.make_safe()


class FakeReceiver:
    """Samples at a clock, filters with running sums, restarts its oscillator at each trigger."""

    #: Hz; 16 clocks and a little per 10 us, so that the dwell time is quantised.
    clock = 1.5987e6
    #: Hz; coarse on purpose: the residual offset must be corrected by the host.
    lo_step = 17.0

    def __init__(self, bench: FakeBench) -> None:
        self.bench = bench
        self.name = "receiver (in memory)"
        self.identity = "fake"
        self.channel_count = bench.spins.sensitivities.size
        self.windows_per_run = 9
        self.counted = 0
        self.collected = 0
        self.setting: ReceiveSetting | None = None
        self.rng = np.random.default_rng(11)
        #: By number of ``collect``: an exception to raise, or how many windows to deliver.
        self.faults: dict[int, Exception | int] = {}

    def configure(self, plan: ReceivePlan, /) -> ReceiveSetting:
        decimation = round(plan.dwell_time * self.clock)
        dwell = decimation / self.clock
        frequency = round(plan.frequency / self.lo_step) * self.lo_step
        # Output n sees clocks up to (n + 1)·R - 1; every stage delays by (R - 1)/2 clocks.
        first = dwell * (1.0 - (STAGES / 2 * (decimation - 1) + 0.5) / decimation)
        self.setting = ReceiveSetting(
            replace(plan, dwell_time=dwell, frequency=frequency), first, STAGES, STAGES, decimation
        )
        self.counted = 0
        return self.setting

    def sample(self, moment: float, carrier: float, edges: np.ndarray, k: np.ndarray) -> np.ndarray:
        """Return one window (channel, sample) opened by a trigger at ``moment``."""
        setting, bench = self.setting, self.bench
        assert setting is not None
        plan, ratio = setting.plan, setting.filter_decimation
        times = (np.arange(plan.samples * ratio) + 0.5) / self.clock
        position = np.stack([np.interp(times, edges, axis) for axis in k], axis=-1)
        # The carrier sets the phase, then the spins precess at their own frequency, not at the carrier's.
        larmor = nucleus("23Na").larmor_frequency(bench.scanner.b0)
        phase = carrier * moment + (larmor - plan.frequency) * times
        signal = bench.spins.signal(position) * np.exp(2j * np.pi * np.mod(phase, 1.0)) if bench.rf else 0.0
        received = bench.spins.sensitivities[:, None] * signal * np.ones(times.size)
        if bench.noise_density:
            white = self.rng.standard_normal((2, *received.shape)) * np.sqrt(
                bench.noise_density * self.clock / 2
            )
            received = received + white[0] + 1j * white[1]
        for _ in range(STAGES):
            padded = np.cumsum(np.pad(received, ((0, 0), (ratio, 0))), axis=-1)
            received = (padded[:, ratio:] - padded[:, :-ratio]) / ratio
        return received[:, ratio - 1 :: ratio].astype(np.complex64)

    def arm(self, windows: int, /) -> None:
        assert self.bench.armed == 0, "armed twice"
        assert windows <= self.windows_per_run
        self.bench.log.append(f"arm {windows}")
        self.bench.armed = windows

    def collect(self, *, abort=never) -> ReceiveBlock:
        bench = self.bench
        if abort():
            raise RunAborted("receiving was stopped on request")
        fault = self.faults.get(self.collected)
        self.collected += 1
        data, bench.windows, windows, bench.armed = bench.windows, [], bench.armed, 0
        first, self.counted = self.counted, self.counted + windows
        if isinstance(fault, Exception):
            raise fault
        if isinstance(fault, int):
            data = data[:fault]
        assert self.setting is not None
        numbers = np.arange(first, first + len(data), dtype=np.int64)
        samples = self.setting.plan.samples
        stacked = np.stack(data) if data else np.zeros((0, self.channel_count, samples), np.complex64)
        return ReceiveBlock(stacked, first, numbers * samples)

    def make_safe(self) -> None:
        self.bench.log.append("receiver safe")

    def close(self) -> None:
        self.make_safe()


@pytest.fixture
def make_bench():
    """Return a maker of benches with two points and three channels."""

    def make(**changes) -> FakeBench:
        spins = PointObject(
            positions=np.array([[0.03, -0.05, 0.07], [-0.09, 0.02, 0.01]]),
            weights=np.array([1.0, 0.4 - 0.3j]),
            sensitivities=np.array([1.0, 0.5j, -0.25 + 0.1j]),
        )
        return FakeBench(spins, **changes)

    return make
