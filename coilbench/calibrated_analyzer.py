"""An analyzer behind a calibration of ours: corrected at the cable ends, and silent once it is not valid."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from coilbench.procedures.calibrate import sweep_corrected, utc_now
from drivers.protocols import Abort, SweepPlan, never

if TYPE_CHECKING:
    from collections.abc import Sequence

    import skrf

    from coilbench.procedures.calibrate import CorrectedSweep, Now
    from coils.calibration import CalibrationRecord, ValidityLimits
    from drivers.protocols import NetworkAnalyzer


class CalibratedAnalyzer:
    """A ``NetworkAnalyzer`` whose sweeps are corrected; the analyzer stays whose it was.

    Parameters
    ----------
    analyzer
        Open, with raw sweeps.
    record
        Of a kind that corrects whole S-matrices in one sweep: ``solt``, ``unknown-thru`` or ``trl``.
    temperature
        Of the room now, K; None: not known.
    limits
        Of validity; None: the defaults of `ValidityLimits`.
    now
        Tells the time.

    Raises
    ------
    ValueError
        The calibration is of another kind.
    """

    def __init__(
        self,
        analyzer: NetworkAnalyzer,
        record: CalibrationRecord,
        temperature: float | None = None,
        limits: ValidityLimits | None = None,
        now: Now = utc_now,
    ) -> None:
        if record.kind in {"sol", "one-path"}:
            raise ValueError(
                f"a {record.kind} calibration does not correct whole S-matrices in one sweep; calibrate with "
                "solt or unknown-thru"
            )
        self.analyzer = analyzer
        self.record = record
        self._conditions = (temperature, limits, now)
        self._plan: SweepPlan | None = None

    @property
    def name(self) -> str:
        """Name and address of the analyzer."""
        return self.analyzer.name

    @property
    def identity(self) -> str:
        """What the analyzer says it is."""
        return self.analyzer.identity

    @property
    def port_count(self) -> int:
        """Highest calibrated port."""
        return max(self.record.ports)

    @property
    def reflection_ports(self) -> tuple[int, ...]:
        """All calibrated ports."""
        return self.record.ports

    def configure(self, plan: SweepPlan, /) -> SweepPlan:
        """Set the analyzer's sweep and return it as read back; errors as the analyzer's."""
        self._plan = plan
        return self.analyzer.configure(plan)

    def sweep(self, ports: Sequence[int] | None = None, /, *, abort: Abort = never) -> skrf.Network:
        """Sweep all calibrated ports and return the corrected S-parameters of ``ports``.

        Raises
        ------
        MeasurementError
            The calibration is not valid for this sweep; all reasons are in the text.
        ValueError
            A port has not been calibrated, or no sweep is configured.
        ReplyTimeout, ConnectionLost, InstrumentFault, ProtocolError
            The analyzer stopped answering, vanished, complained, or sent what it must not.
        """
        from skrf.network import Network

        wanted = self.record.ports if ports is None else tuple(ports)
        absent = [port for port in wanted if port not in self.record.ports]
        if absent:
            raise ValueError(
                f"ports {', '.join(map(str, absent))} are not calibrated; the calibration has "
                f"{', '.join(map(str, self.record.ports))}"
            )
        corrected = self.sweep_all(abort=abort)
        rows = np.array([self.record.ports.index(port) for port in wanted])
        return Network(f=corrected.frequencies, f_unit="Hz", s=corrected.s[:, rows[:, None], rows], z0=50.0)

    def sweep_all(self, *, noise: float = 0.0, abort: Abort = never) -> CorrectedSweep:
        """Sweep all calibrated ports, corrected, with the error budget; errors as `sweep`.

        Parameters
        ----------
        noise
            Standard deviation of a complex raw S-parameter, for the budget.
        """
        if self._plan is None:
            raise ValueError("no sweep is configured")
        temperature, limits, now = self._conditions
        return sweep_corrected(
            self.analyzer,
            self.record,
            self._plan,
            temperature=temperature,
            limits=limits,
            noise=noise,
            abort=abort,
            now=now,
        )

    def make_safe(self) -> None:
        """Switch RF off."""
        self.analyzer.make_safe()

    def close(self) -> None:
        """Make safe and release the link; may be called twice."""
        self.analyzer.close()
