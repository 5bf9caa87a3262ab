"""Rohde & Schwarz ZNB, ZNBT, ZND, ZNL and relatives over HiSLIP, VXI-11 or a raw socket.

Commands follow the R&S ZNB/ZNBT User Manual 1173.9163.02 ("Command Reference"): CALCulate, FORMat, INITiate,
OUTPut, SENSe:SEGMent, SENSe:SWEep; segments as in R&S's own example RsInstrument_ZNB_Segmented_Sweep.py.

Only channel 1 is touched, and no ``*RST`` is sent: the calibration on the instrument stays in force. RF is on
only while a sweep runs. The sweep is held until everything has been read, so all S-parameters belong to
one trigger. Never run on hardware so far.
"""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING, Final

import numpy as np
import skrf

from coilbench.base.errors import (
    ConnectionFailed,
    ConnectionLost,
    InstrumentError,
    InstrumentFault,
    ProtocolError,
    ReplyTimeout,
)
from drivers.address import open_link
from drivers.analyzers.refusals import require_power, require_rising
from drivers.analyzers.rohde_schwarz_settings import read_back, settings
from drivers.analyzers.rohde_schwarz_time import (
    leave_time_sweep,
    prepare_time_sweep,
    read_time_sweep,
    run_time_sweep,
)
from drivers.protocols import Abort, SweepPlan, TimePlan, never
from drivers.scpi import ScpiSession

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from numpy.typing import NDArray

_log: Final = logging.getLogger("coilbench.wire")

#: Our trace in channel 1: the stimulus axis is read through it.
_TRACE: Final = "coilbench"
#: A value above this is SCPI's not-a-number, 9.91E37 (SCPI-99 vol. 1, 7.2.1.5).
_NOT_A_NUMBER: Final = 9.89e37
#: Expected sweep time is multiplied by this and lengthened by so many seconds (settling, display, network).
_PATIENCE: Final = (1.5, 5.0)
#: Relative difference at which a frequency in ASCII and in binary are no longer the same (12 digits come).
_SAME_FREQUENCY: Final = 1e-9
#: Models without FORM:BORD: always little-endian (ZNL/ZNLE User Manual, FORMat).
_ALWAYS_LITTLE_ENDIAN: Final = ("ZNL",)
#: What ends a wait for an instrument that is gone.
_GONE: Final = (ConnectionFailed, ConnectionLost, ReplyTimeout, ProtocolError)


def open_analyzer(
    address: str,
    *,
    name: str,
    power_limit_dbm: float = 0.0,
    timeout: float = 5.0,
    record: Path | None = None,
) -> ZnbAnalyzer:
    """Open a ZNB; RF is off afterwards.

    Parameters
    ----------
    address
        Such as ``TCPIP::192.168.1.20::hislip0::INSTR`` (preferred) or ``tcp://192.168.1.20:5025``.
    name
        The instrument's name in the bench file.
    power_limit_dbm
        Source power that is never exceeded, whoever asks.
    timeout
        Seconds that an ordinary answer may take; sweeps have deadlines of their own.
    record
        A new file for a transcript of all bytes.

    Raises
    ------
    ConnectionFailed, ReplyTimeout, ProtocolError
        Nothing, or no such analyzer, answers there.
    """
    link = open_link(address, name=name, timeout=timeout, record=record)
    try:
        return ZnbAnalyzer(ScpiSession(link), power_limit_dbm=power_limit_dbm)
    except BaseException:
        link.close()
        raise


class ZnbAnalyzer:
    """A ZNB or a relative; a ``drivers.protocols.NetworkAnalyzer``.

    Parameters
    ----------
    session
        Open; closed by ``close``.
    power_limit_dbm
        Source power that is never exceeded.

    Raises
    ------
    ProtocolError
        No R&S analyzer, or its ASCII and binary numbers disagree.
    InstrumentFault
        It refuses the settings without which nothing can be read.
    """

    #: *RST leaves it at SWAPped, an earlier program may not (ZNB manual, FORMat:BORDer).
    _byte_order: Final = "FORM:BORD SWAP"

    def __init__(self, session: ScpiSession, *, power_limit_dbm: float = 0.0) -> None:
        self._session = session
        self._power_limit = power_limit_dbm
        self._plan: SweepPlan | None = None
        self._points = 0
        self._group: tuple[int, ...] = ()
        self._is_over_time = False
        maker, self._model, *_ = session.identity.split(",")
        if "rohde" not in maker.lower():
            raise ProtocolError(
                session.name, f"expected a Rohde & Schwarz analyzer, got {session.identity!r}", "*IDN?"
            )
        # the first act is the safe state: whoever drove it before may have died
        session.begin("OUTP OFF")
        self._port_count = session.query_integer("INST:PORT:COUN?")
        self._was_continuous = session.query("INIT1:CONT?") in {"1", "ON"}
        self._prepare()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def name(self) -> str:
        """Name and address, as error messages give them."""
        return self._session.name

    @property
    def identity(self) -> str:
        """The answer to ``*IDN?``."""
        return self._session.identity

    @property
    def port_count(self) -> int:
        """Number of test ports, with those of a switch matrix."""
        return self._port_count

    @property
    def reflection_ports(self) -> tuple[int, ...]:
        """Every port."""
        return tuple(range(1, self._port_count + 1))

    def configure(self, plan: SweepPlan, /) -> SweepPlan:
        """Set the sweep and return it as read back; several segments become one segmented sweep.

        Raises
        ------
        LimitExceeded
            The source power is above the driver's limit; nothing was sent.
        ValueError
            No segments, or they overlap or fall.
        InstrumentFault
            The instrument refused a setting; its own words are in the text.
        """
        require_power(self.name, plan.power_dbm, self._power_limit)
        require_rising(plan.segments)
        self._plan = None
        self._in_step()
        found = self._apply(plan)
        self._plan = plan
        return found

    def sweep(self, ports: Sequence[int] | None = None, /, *, abort: Abort = never) -> skrf.Network:
        """Trigger one sweep and return all S-parameters of ``ports`` in that order (None: all ports).

        Returns
        -------
        Network of shape (frequency, port, port), 50 Ω, on the axis that the instrument reports.

        Raises
        ------
        ValueError
            Not configured, or a port that does not exist or is named twice.
        ReplyTimeout, ConnectionLost, ProtocolError
            The instrument stopped answering, vanished, or sent what it must not.
        InstrumentFault
            It complained, RF was off when the sweep ended, or it has no numbers for an S-parameter.
        RunAborted
            ``abort`` said so; RF is off.
        """
        wanted = self._checked_ports(ports)
        group = tuple(sorted(wanted))
        plan = self._plan
        if plan is None:
            raise ValueError(f"{self.name}: configure a sweep before sweeping")
        self._in_step()
        self._select(group)
        with self._rf_on():
            self._trigger(plan, group, abort)
            frequencies = self._read_axis()
            sparameters = self._read_group(group, frequencies)
        order = [group.index(port) for port in wanted]
        return skrf.Network(
            frequency=skrf.Frequency.from_f(frequencies, unit="Hz"),
            s=sparameters[:, order][:, :, order],
            z0=50.0,
            name=self.name,
        )

    def record(
        self, plan: TimePlan, cause: Callable[[], None] | None = None, /, *, abort: Abort = never
    ) -> tuple[NDArray[np.float64], NDArray[np.complex128]]:
        """Record one S-parameter over time and return times in s and values, each of shape (point,).

        Parameters
        ----------
        plan
            What to record.
        cause
            Done once the analyzer waits for its trigger; what it does must give the pulse: time zero. None:
            recorded at once.

        Raises
        ------
        LimitExceeded
            The source power is above the driver's limit; nothing was sent.
        ValueError
            A port that does not exist, or one port twice.
        ReplyTimeout, ConnectionLost, ProtocolError
            No pulse came, or the instrument stopped answering, vanished, or sent what it must not.
        InstrumentFault
            It complained, RF was off when the sweep ended, or it has no numbers.
        RunAborted
            ``abort`` said so; RF is off.
        """
        require_power(self.name, plan.power_dbm, self._power_limit)
        self._checked_ports((plan.out, plan.source))
        self._in_step()
        self._plan, self._group, self._is_over_time = None, (), True
        stop_time = prepare_time_sweep(self._session, plan, _TRACE, triggered=cause is not None)
        require_power(self.name, self._session.query_number("SOUR1:POW?"), self._power_limit)
        with self._rf_on():
            run_time_sweep(self._session, stop_time, cause, abort=abort)
            self._require_rf()
            times, values = read_time_sweep(self._session, plan.points)
        if not np.all(np.isfinite(values)) or np.any(np.abs(values) > _NOT_A_NUMBER):
            raise InstrumentFault(self.name, "the time sweep has no values", "CALC1:DATA? SDAT")
        self._over_frequency()
        return times, values

    def make_safe(self) -> None:
        """Switch RF off, over a new connection if need be; an instrument that is gone is only logged."""
        try:
            self._force_rf_off()
        except InstrumentError as error:
            _log.error("%s: could not switch RF off: %s", self.name, error)

    def close(self) -> None:
        """Switch RF off, give the trigger and the display back, release the link; may be called twice."""
        if self._session.is_closed:
            return
        self.make_safe()
        try:
            if not self._session.is_poisoned:
                self._over_frequency()
                self._session.write(
                    "CALC1:PAR:DEL:SGR",
                    f"CALC1:PAR:DEL '{_TRACE}'",
                    "FORM ASC",
                    f"INIT1:CONT {'ON' if self._was_continuous else 'OFF'}",
                )
        except _GONE as error:
            _log.warning("%s: settings were not given back: %s", self.name, error)
        finally:
            self._session.close()

    def _prepare(self) -> None:
        session = self._session
        session.configure("OUTP OFF", "INIT1:CONT OFF")
        if not self._model.upper().startswith(_ALWAYS_LITTLE_ENDIAN):
            session.configure(self._byte_order)
        session.configure(f"CALC1:PAR:SDEF '{_TRACE}','S11'", f"CALC1:PAR:SEL '{_TRACE}'", "FORM ASC")
        as_text = session.query_ascii("CALC1:DATA:STIM?")
        session.configure("FORM REAL,64")
        as_binary = session.query_doubles("CALC1:DATA:STIM?", as_text.size)
        if not np.allclose(as_text, as_binary, rtol=_SAME_FREQUENCY, atol=0.0):
            raise ProtocolError(
                self.name,
                f"the frequency axis begins {as_text[0]:g} Hz in ASCII and {as_binary[0]:g} Hz in binary; is "
                "the byte order little-endian?",
                "CALC1:DATA:STIM?",
            )
        self._group = ()
        self._renewals = session.renewals

    def _in_step(self) -> None:
        """Come back if the link was lost, and set all anew: the instrument may have been restarted."""
        if self._session.is_poisoned:
            self._session.recover()
        if self._renewals != self._session.renewals:
            self._prepare()
            if self._plan is not None:
                self._apply(self._plan)
        self._over_frequency()

    def _over_frequency(self) -> None:
        if self._is_over_time:
            leave_time_sweep(self._session)
            self._is_over_time = False

    def _apply(self, plan: SweepPlan) -> SweepPlan:
        self._session.configure(*settings(plan))
        found = read_back(self._session, plan)
        # what was really set counts: an instrument may round the level up
        require_power(self.name, found.power_dbm, self._power_limit)
        self._points = found.points
        return found

    def _select(self, group: tuple[int, ...]) -> None:
        if group == self._group:
            return
        self._group = ()
        names = ",".join(map(str, group))
        first = f"S{group[0]}{group[0]}"
        self._session.configure(
            f"CALC1:PAR:DEF:SGR {names}",
            # our own trace moves to a port of the group: left on port 1 it would make that port drive as well
            f"CALC1:PAR:SDEF '{_TRACE}','{first}'",
            f"CALC1:PAR:SEL '{_TRACE}'",
        )
        found = self._session.query("CALC1:PAR:DEF:SGR?")
        if found.replace(" ", "") != names:
            raise InstrumentFault(
                self.name, f"the S-parameter group is '{found}' instead of '{names}'", "CALC1:PAR:DEF:SGR?"
            )
        self._group = group

    @contextlib.contextmanager
    def _rf_on(self) -> Iterator[None]:
        try:
            self._session.write("OUTP ON")
            yield
        except BaseException as error:
            try:
                self._force_rf_off()
            except InstrumentError as second:
                error.add_note(f"and RF could not be switched off: {second}")
            raise
        self._session.configure("OUTP OFF")

    def _force_rf_off(self) -> None:
        """Switch RF off and stop the sweep; once more over a new connection when the link proves lost."""
        session = self._session
        try:
            session.write("OUTP OFF", "ABOR")
            is_off = session.query("OUTP?") in {"0", "OFF"}
        except ConnectionLost:
            session.write("OUTP OFF", "ABOR")
            is_off = session.query("OUTP?") in {"0", "OFF"}
        for entry in session.errors():
            _log.warning("%s reported %s while stopping", self.name, entry)
        if not is_off:
            raise InstrumentFault(self.name, "RF is still on; switch it off by hand", "OUTP OFF")

    def _trigger(self, plan: SweepPlan, group: tuple[int, ...], abort: Abort) -> None:
        session = self._session
        is_segmented = len(plan.segments) > 1
        # SENS:SWE:TIME? is wrong for segmented sweeps
        duration = session.query_number("SENS1:SEGM:SWE:TIME:SUM?" if is_segmented else "SENS1:SWE:TIME?")
        factor, extra = _PATIENCE
        # a trace of the user's own may drive one port more
        timeout = factor * (len(group) + 1) * plan.averages * duration + extra
        session.write("INIT1:CONT OFF", "SENS1:AVER:CLE")
        session.wait("INIT1:IMM;*OPC?", timeout, abort=abort)
        # a refused trigger is "done" at once and would leave the previous sweep's data to be read
        session.raise_errors("INIT1:IMM")
        self._require_rf()

    def _require_rf(self) -> None:
        # without RF the receivers' noise would be read as S-parameters
        if self._session.query("OUTP?") not in {"1", "ON"}:
            raise InstrumentFault(
                self.name,
                "RF was switched off during the sweep, by the guardian or another program; sweep again",
                "OUTP?",
            )

    def _read_axis(self) -> NDArray[np.float64]:
        axis = self._session.query_doubles("CALC1:DATA:STIM?", self._points)
        if not np.all(np.isfinite(axis)) or np.any(axis <= 0.0) or np.any(np.diff(axis) <= 0.0):
            raise ProtocolError(
                self.name, "the frequency axis is not positive and rising", "CALC1:DATA:STIM?"
            )
        return axis

    def _read_group(self, group: tuple[int, ...], axis: NDArray[np.float64]) -> NDArray[np.complex128]:
        """Return S of shape (frequency, port, port); the wire has S11, S12, ... each over frequency."""
        question = "CALC1:DATA:SGR? SDAT"
        count = len(group)
        numbers = self._session.query_doubles(question, 2 * count * count * axis.size)
        bad = ~np.isfinite(numbers) | (np.abs(numbers) > _NOT_A_NUMBER)
        traces = numbers.view(np.complex128).reshape(count, count, axis.size)
        bad_traces = bad.reshape(count, count, -1).any(axis=2)
        # receivers have noise: an exact zero was never measured
        bad_traces |= (traces == 0.0).any(axis=2)
        if bad_traces.any():
            names = [f"S({group[i]},{group[j]})" for i, j in np.argwhere(bad_traces)]
            raise InstrumentFault(
                self.name,
                f"no values for {len(names)} of {count * count} S-parameters ({', '.join(names[:4])}); check "
                "the ports, their calibration and the messages on its screen",
                question,
            )
        return np.ascontiguousarray(traces.transpose(2, 0, 1))

    def _checked_ports(self, ports: Sequence[int] | None) -> tuple[int, ...]:
        if ports is None:
            return self.reflection_ports
        wanted = tuple(ports)
        wrong = [port for port in wanted if not 1 <= port <= self._port_count]
        if not wanted or wrong or len(set(wanted)) != len(wanted):
            raise ValueError(
                f"{self.name}: expected different ports from 1 to {self._port_count}, got {list(wanted)}"
            )
        return wanted
