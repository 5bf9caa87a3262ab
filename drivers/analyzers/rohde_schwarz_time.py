"""Time sweeps of an R&S ZNB at one frequency, free-running or begun by a pulse at its trigger input.

R&S ZNB/ZNBT User Manual 1173.9163.02, "Time" sweep: equidistant points over the stop time, which the
instrument lengthens to what its bandwidth needs; so the axis is read back. With a system error correction of
n ports each point needs n partial measurements, and a trace of the user's own that drives another port one
more: delete such traces and switch corrections off where microseconds count.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from coilbench.base.errors import ProtocolError, ReplyTimeout
from drivers.protocols import Abort, TimePlan, never

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from drivers.scpi import ScpiSession

#: Seconds that a sweep may take beyond its stop time: arming, trigger, settling.
_EXTRA: Final = 5.0


def prepare_time_sweep(session: ScpiSession, plan: TimePlan, trace: str, *, triggered: bool) -> float:
    """Set a time sweep of one S-parameter and return its stop time as read back, s.

    Parameters
    ----------
    trace
        Name of a trace in channel 1 that becomes this S-parameter.
    triggered
        Whether a pulse at the trigger input begins it.

    Raises
    ------
    InstrumentFault
        The instrument refused a setting.
    """
    session.configure(
        "CALC1:PAR:DEL:SGR",
        f"CALC1:PAR:SDEF '{trace}','{parameter_name(plan.out, plan.source)}'",
        f"CALC1:PAR:SEL '{trace}'",
        "SENS1:SWE:TYPE CW",
        f"SENS1:FREQ:CW {plan.frequency:.12g}",
        f"SENS1:BAND {plan.if_bandwidth:.12g}",
        f"SOUR1:POW {plan.power_dbm:.12g}",
        f"SENS1:SWE:POIN {plan.points}",
        f"SENS1:SWE:TIME {plan.duration:.12g}",
        "SENS1:AVER OFF",
        "SENS1:SWE:COUN 1",
        f"TRIG1:SOUR {'EXT' if triggered else 'IMM'}",
    )
    return session.query_number("SENS1:SWE:TIME?")


def leave_time_sweep(session: ScpiSession) -> None:
    """Go back to free-running frequency sweeps; what they sweep is to be set anew."""
    session.configure("ABOR", "TRIG1:SOUR IMM", "SENS1:SWE:TYPE LIN")


def run_time_sweep(
    session: ScpiSession, stop_time: float, cause: Callable[[], None] | None, *, abort: Abort = never
) -> None:
    """Begin the sweep, let ``cause`` happen if there is one, and wait for the end.

    Raises
    ------
    ReplyTimeout
        It did not end; with a ``cause`` because no pulse came to the trigger input.
    """
    session.write("INIT1:CONT OFF")
    if cause is None:
        session.wait("INIT1:IMM;*OPC?", stop_time + _EXTRA, abort=abort)
        return
    session.configure("INIT1:IMM")
    cause()
    try:
        session.wait("*OPC?", stop_time + _EXTRA, abort=abort)
    except ReplyTimeout as error:
        error.add_note(
            "no pulse came to the trigger input: connect the controller's trigger output to the analyzer"
        )
        raise


def read_time_sweep(session: ScpiSession, points: int) -> tuple[NDArray[np.float64], NDArray[np.complex128]]:
    """Return the times in s and the selected trace's values, each of shape (point,).

    Raises
    ------
    ProtocolError
        The axis does not rise from zero.
    """
    times = session.query_doubles("CALC1:DATA:STIM?", points)
    if times[0] < 0.0 or np.any(np.diff(times) <= 0.0):
        raise ProtocolError(session.name, "the time axis does not rise from zero", "CALC1:DATA:STIM?")
    values = session.query_doubles("CALC1:DATA? SDAT", 2 * points)
    return times, values.view(np.complex128)


def parameter_name(out: int, source: int) -> str:
    """Return ``S21``, or ``S1817`` with as many digits for both ports (ZNB/ZNBT User Manual, "S-Params")."""
    digits = len(str(max(out, source)))
    return f"S{out:0{digits}d}{source:0{digits}d}"
