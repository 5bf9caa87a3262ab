"""NanoVNA-H and H4 over their serial shell (firmware NanoVNA-D 1.2.52; nanovna.h, main.c).

One direction only: S11 and S21. A plan becomes several scans of as many points as the instrument holds; the
frequency axis comes with the data of each scan. Above 300.0001 MHz the source's third harmonic is used, with
less dynamic range: a plan that crosses this frequency is split there, and a warning is logged.

The source cannot be switched off: it stays near -9 dBm, also after ``make_safe``, which stops the sweeping.
Never run on hardware so far.
"""

from __future__ import annotations

import logging
import math
import re
from typing import TYPE_CHECKING, Final

import numpy as np
import skrf

from coilbench.base.errors import (
    ConnectionFailed,
    ConnectionLost,
    InstrumentFault,
    LimitExceeded,
    ProtocolError,
    ReplyTimeout,
    RunAborted,
)
from drivers.address import open_link
from drivers.analyzers.nanovna_shell import NanoVnaShell, numbers
from drivers.analyzers.refusals import require_power, require_rising
from drivers.protocols import Abort, Segment, SweepPlan, never

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from numpy.typing import NDArray

_log: Final = logging.getLogger("coilbench.analyzer")

#: Hz; above it the source's third harmonic is measured (nanovna.h, FREQUENCY_THRESHOLD).
HARMONIC_THRESHOLD: Final = 300_000_100
#: Hz (nanovna.h, FREQUENCY_MIN and FREQUENCY_MAX); a scan beyond them is not refused by the firmware.
_FREQUENCY_LIMITS: Final = (600.0, 2.7e9)
#: Points of one scan where the firmware does not say (nanovna.h: 101 for the H, 401 for the H4).
_SCAN_POINTS: Final = 101
#: Hz; bandwidth n is this over n + 1, n from 0 to 511 (main.c, cmd_bandwidth).
_WIDEST_BANDWIDTH: Final = 4000.0
_BANDWIDTH_STEPS: Final = 511
#: dBm at most at port 1, whatever is asked (NanoVNA-H data sheet: -13 dBm, maximum -9 dBm).
_SOURCE_POWER_DBM: Final = -9.0
#: Columns of a scan: frequency 1, S11 2, S21 4 (main.c, cmd_scan).
_MASK: Final = 7
_COLUMNS: Final = 5
#: Seconds a point may take besides its two receptions of one bandwidth each: settling, text.
_POINT_OVERHEAD: Final = 5e-3
#: Seconds a scan may take besides its points.
_SCAN_OVERHEAD: Final = 5.0
#: Hz between the frequency asked for and the one scanned: the shell and the firmware each round to 1 Hz.
_RESOLUTION: Final = 1.5
#: |S| beyond which a reading is damage on the line: no passive device, however badly calibrated.
_LARGEST: Final = 1e3


def open_analyzer(
    address: str,
    *,
    name: str,
    power_limit_dbm: float = 0.0,
    timeout: float = 5.0,
    record: Path | None = None,
) -> NanoVnaAnalyzer:
    """Open a NanoVNA-H or H4 and stop its own sweeping.

    Parameters
    ----------
    address
        Its serial port, such as ``/dev/ttyACM0`` or ``COM5``; ``socket://host:port`` behind a serial server.
    name
        The instrument's name in the bench file.
    power_limit_dbm
        Source power that is never exceeded; below -9 dBm this instrument cannot be used.
    timeout
        Seconds that an ordinary answer may take; scans have deadlines of their own.
    record
        A new file for a transcript of all bytes.

    Raises
    ------
    ConnectionFailed, ReplyTimeout
        Nothing, or no NanoVNA shell, answers there.
    """
    link = open_link(address, name=name, timeout=timeout, newline=b"\r", record=record)
    try:
        return NanoVnaAnalyzer(NanoVnaShell(link), power_limit_dbm=power_limit_dbm)
    except BaseException:
        link.close()
        raise


class NanoVnaAnalyzer:
    """A NanoVNA-H or H4; a ``drivers.protocols.NetworkAnalyzer``.

    Parameters
    ----------
    shell
        Open; closed by ``close``.
    power_limit_dbm
        Source power that is never exceeded.
    """

    def __init__(self, shell: NanoVnaShell, *, power_limit_dbm: float = 0.0) -> None:
        self._shell = shell
        self._power_limit = power_limit_dbm
        self._plan: SweepPlan | None = None
        about = " ".join(shell.ask("info"))
        version = " ".join(shell.ask("version"))
        board = re.search(r"Board: ?(\S+)", about)
        self._identity = f"{board[1] if board else 'NanoVNA'},firmware {version}"
        points = re.search(r"\[p: ?(\d+)", about)
        self._scan_points = int(points[1]) if points else _SCAN_POINTS
        shell.ask("pause")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def name(self) -> str:
        """Name and address, as error messages give them."""
        return self._shell.name

    @property
    def identity(self) -> str:
        """Board and firmware version."""
        return self._identity

    @property
    def port_count(self) -> int:
        """Two; the second only receives."""
        return 2

    @property
    def reflection_ports(self) -> tuple[int, ...]:
        """Port 1 alone."""
        return (1,)

    @property
    def points_per_scan(self) -> int:
        """Most points the instrument measures at once; longer segments take several scans."""
        return self._scan_points

    def configure(self, plan: SweepPlan, /) -> SweepPlan:
        """Set the bandwidth, keep the rest for ``sweep``, and return the plan as it will be swept.

        Averages are taken by repeating each scan. The power returned is the most this source gives.

        Raises
        ------
        LimitExceeded
            The power asked for, or this source's own -9 dBm, is above the driver's limit; or a frequency lies
            outside 600 Hz to 2.7 GHz.
        ValueError
            No segments, or they overlap or fall.
        InstrumentFault
            The firmware has no bandwidth command.
        """
        require_power(self.name, max(plan.power_dbm, _SOURCE_POWER_DBM), self._power_limit)
        require_rising(plan.segments)
        self._require_range(plan.segments)
        self._plan = None
        wanted = math.ceil(_WIDEST_BANDWIDTH / plan.if_bandwidth) - 1
        command = f"bandwidth {min(max(wanted, 0), _BANDWIDTH_STEPS)}"
        answer = " ".join(self._shell.ask(command))
        match = re.search(r"\((\d+) ?Hz\)", answer)
        if match is None or int(match[1]) == 0:
            raise ProtocolError(self.name, f"expected 'bandwidth n (xxHz)', got '{answer[:80]}'", command)
        segments = tuple(
            Segment(float(round(segment.start)), float(round(segment.stop)), segment.points)
            for segment in plan.segments
        )
        for segment in segments:
            if segment.start <= HARMONIC_THRESHOLD < segment.stop:
                _log.warning(
                    "%s: the segment from %.4f to %.4f MHz crosses 300.0001 MHz, where this instrument "
                    "changes to its third harmonic: expect a step there and more noise above",
                    self.name,
                    segment.start / 1e6,
                    segment.stop / 1e6,
                )
        self._plan = SweepPlan(segments, float(match[1]), _SOURCE_POWER_DBM, plan.averages)
        return self._plan

    def sweep(self, ports: Sequence[int] | None = None, /, *, abort: Abort = never) -> skrf.Network:
        """Scan and return S11; ``ports`` must be ``(1,)``, because S12 and S22 cannot be measured.

        Returns
        -------
        Network of shape (frequency, 1, 1), 50 Ω, on the axis that the instrument reports.

        Raises
        ------
        ValueError
            Not configured, or other ports than ``(1,)``; ``sweep_forward`` gives S11 with S21.
        ReplyTimeout, ConnectionLost, ProtocolError
            The instrument stopped answering, vanished, or sent what it must not.
        InstrumentFault
            It refused the scan, or has no numbers.
        RunAborted
            ``abort`` said so.
        """
        if ports is None or tuple(ports) != (1,):
            asked = "all ports" if ports is None else f"ports {list(ports)}"
            raise ValueError(
                f"{self.name}: {asked} asked for, but only port 1 drives; sweep((1,)) gives S11, "
                "sweep_forward() S11 and S21"
            )
        return self.sweep_forward(abort=abort)[0]

    def sweep_forward(self, *, abort: Abort = never) -> tuple[skrf.Network, skrf.Network]:
        """Scan and return S11 and S21, each as a one-port Network; errors as ``sweep``."""
        plan = self._plan
        if plan is None:
            raise ValueError(f"{self.name}: configure a sweep before sweeping")
        parts = [
            self._scan(grid, plan, abort)
            for segment in plan.segments
            for grid in scan_grids(segment, self._scan_points)
        ]
        table = np.concatenate(parts)
        if np.any(np.diff(table[:, 0]) <= 0.0):
            raise ProtocolError(self.name, "the frequencies of the joined scans do not rise", "scan")
        frequency = skrf.Frequency.from_f(table[:, 0], unit="Hz")
        s11, s21 = (
            skrf.Network(
                frequency=frequency,
                s=(table[:, column] + 1j * table[:, column + 1])[:, None, None],
                z0=50.0,
                name=f"{self.name} {parameter}",
            )
            for column, parameter in ((1, "S11"), (3, "S21"))
        )
        return s11, s21

    def make_safe(self) -> None:
        """Stop sweeping; the source cannot be switched off. An instrument that is gone is only logged."""
        try:
            self._shell.ask("pause")
        except (ConnectionFailed, ConnectionLost, ReplyTimeout, ProtocolError) as error:
            _log.error("%s: could not be stopped: %s", self.name, error)

    def close(self) -> None:
        """Stop sweeping and release the line; may be called twice."""
        if not self._shell.is_closed:
            self.make_safe()
            self._shell.close()

    def _scan(self, grid: NDArray[np.float64], plan: SweepPlan, abort: Abort) -> NDArray[np.float64]:
        """Return rows of frequency, S11 (re, im), S21 (re, im), averaged over ``plan.averages`` scans."""
        # a single point is scanned twice: the firmware divides by the points less one
        points = max(2, grid.size)
        command = f"scan {grid[0]:.0f} {grid[-1]:.0f} {points} {_MASK}"
        timeout = points * (2.0 / plan.if_bandwidth + _POINT_OVERHEAD) * 1.5 + _SCAN_OVERHEAD
        total = np.zeros((points, _COLUMNS))
        for _ in range(plan.averages):
            # short scans end before the shell would ask
            if abort():
                raise RunAborted(f"{self.name}: stopped before '{command}'")
            lines = self._shell.ask(command, timeout=timeout, abort=abort)
            total += self._checked(command, lines, points, grid)
        return (total / plan.averages)[: grid.size]

    def _checked(
        self, command: str, lines: list[str], points: int, grid: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        rows = np.array(numbers(self._shell, command, lines, _COLUMNS), dtype=np.float64)
        if rows.shape != (points, _COLUMNS):
            raise ProtocolError(self.name, f"expected {points} lines, got {len(lines)}", command)
        if not np.all(np.isfinite(rows)) or np.any(np.abs(rows[:, 1:]) > _LARGEST):
            raise ProtocolError(self.name, "values that no S-parameter can have", command)
        if np.any(rows[:, 1] + 1j * rows[:, 2] == 0.0):
            raise InstrumentFault(
                self.name, "S11 is exactly zero: nothing was measured; reset the instrument", command
            )
        asked = np.resize(grid, points)
        if np.any(np.abs(rows[:, 0] - asked) > _RESOLUTION):
            raise ProtocolError(
                self.name,
                f"asked for {grid[0]:.0f} to {grid[-1]:.0f} Hz, scanned were {rows[0, 0]:.0f} to "
                f"{rows[-1, 0]:.0f} Hz",
                command,
            )
        return rows

    def _require_range(self, segments: Sequence[Segment]) -> None:
        lowest, highest = _FREQUENCY_LIMITS
        for segment in segments:
            if not (lowest <= segment.start and segment.stop <= highest):
                raise LimitExceeded(
                    self.name,
                    f"it measures from {lowest:.0f} Hz to {highest / 1e9:g} GHz, asked for were "
                    f"{segment.start:g} to {segment.stop:g} Hz",
                    "scan",
                )


def scan_grids(segment: Segment, points_per_scan: int) -> Iterator[NDArray[np.float64]]:
    """Cut a segment's frequencies into scans: none crosses the harmonic threshold, none is too long.

    Yields
    ------
    Frequencies in Hz, evenly spaced, in rising order; together exactly the segment's.
    """
    grid = np.linspace(segment.start, segment.stop, segment.points)
    crossing = int(np.searchsorted(grid, HARMONIC_THRESHOLD, side="right"))
    for side in (grid[:crossing], grid[crossing:]):
        if side.size:
            yield from np.array_split(side, math.ceil(side.size / points_per_scan))
