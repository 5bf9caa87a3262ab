"""From raw sweeps of standards to corrected S-parameters; scikit-rf solves the error models.

Raw sweeps are full S-matrices of the ports they were made at: a reflection standard gives (frequency, 1, 1),
a thru (frequency, 2, 2). For ``one-path`` the second column of a thru is not used (an analyzer that
measures forward only cannot fill it).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from coilbench.base.errors import MeasurementError
from coils.calibration.steps import CalibrationKind, CalibrationStep, calibration_steps

if TYPE_CHECKING:
    from collections.abc import Mapping

    import skrf
    from numpy.typing import NDArray

    from coils.calibration.kit import Kit

    #: S of one raw sweep or one standard, shape (frequency, port, port).
    Scattering = NDArray[np.complex128]


#: Radian that a line must be longer than the thru, modulo half turns (Engen and Hoer, IEEE Trans Microw
#: Theory Tech 27:987, 1979; 20° to 160°: HP 8753D user's guide, requirements for TRL standards).
_LINE_RANGE: Final = (np.pi / 9.0, 8.0 * np.pi / 9.0)


@dataclass(frozen=True, slots=True)
class Correction:
    """A solved calibration.

    Parameters
    ----------
    kind, ports
        As solved.
    frequencies
        Hz, shape (frequency,): sweeps to be corrected must have this axis.
    solved
        scikit-rf's calibrations: one for each port (``sol``), else one.
    """

    kind: CalibrationKind
    ports: tuple[int, ...]
    frequencies: NDArray[np.float64]
    solved: tuple[Any, ...]

    def correct(self, raw: NDArray[np.complex128]) -> NDArray[np.complex128]:
        """Return corrected S-parameters of all calibrated ports.

        Parameters
        ----------
        raw
            Shape (frequency, port, port), ports in the order of ``ports``; for ``sol`` only the diagonal is
            corrected and all else is nan.

        Raises
        ------
        ValueError
            Another shape, or a ``one-path`` calibration, which needs two sweeps (`correct_one_path`).
        """
        shape = (self.frequencies.size, len(self.ports), len(self.ports))
        if raw.shape != shape:
            raise ValueError(f"expected a sweep of ports {self.ports}, shape {shape}; got {raw.shape}")
        if self.kind == "one-path":
            raise ValueError("an analyzer that measures forward only needs both directions: correct_one_path")
        if self.kind == "sol":
            return self._reflections(raw)
        return np.asarray(self.solved[0].apply_cal(_network(self.frequencies, raw)).s, dtype=np.complex128)

    def _reflections(self, raw: NDArray[np.complex128]) -> NDArray[np.complex128]:
        out = np.full(raw.shape, complex(np.nan, np.nan))
        for place, calibration in enumerate(self.solved):
            one = _network(self.frequencies, raw[:, place : place + 1, place : place + 1])
            out[:, place, place] = calibration.apply_cal(one).s[:, 0, 0]
        return out


def solve_correction(
    kind: CalibrationKind,
    ports: tuple[int, ...],
    frequencies: NDArray[np.float64],
    raw: Mapping[str, NDArray[np.complex128]],
    kit: Kit,
    *,
    definitions: Mapping[str, NDArray[np.complex128]] | None = None,
) -> Correction:
    """Solve a calibration.

    Parameters
    ----------
    kind, ports
        As in `calibration_steps`.
    frequencies
        Hz, shape (frequency,).
    raw
        Raw sweeps by the names of the steps.
    kit
        The standards' definitions.
    definitions
        S of some standards by the names of the steps, in place of the kit's.

    Raises
    ------
    ValueError
        A raw sweep is missing or has another shape.
    MeasurementError
        The standards do not determine the error model (two of them alike, or a broken sweep).

    Notes
    -----
    ``unknown-thru`` (Ferrero and Pisani, IEEE Microw Guided Wave Lett 2:505, 1992) and ``trl`` (Engen and
    Hoer, IEEE Trans Microw Theory Tech 27:987, 1979) are solved without switch terms: raw sweeps must come
    from an analyzer that corrects or does not have them.
    """
    steps = calibration_steps(kind, ports)
    measured: dict[str, Scattering] = {}
    ideal: dict[str, Scattering] = {}
    for step in steps:
        shape = (frequencies.size, len(step.ports), len(step.ports))
        if step.name not in raw or raw[step.name].shape != shape:
            raise ValueError(f"a {kind} calibration needs the raw sweep {step.name} of shape {shape}")
        if not np.isfinite(raw[step.name][:, :, 0]).all():
            raise MeasurementError(
                f"the raw sweep {step.name} holds values that are not finite; measure it again"
            )
        measured[step.name] = raw[step.name]
        given = definitions or {}
        ideal[step.name] = (
            given[step.name] if step.name in given else kit.standard(step.standard).scattering(frequencies)
        )
    _require_different(steps, measured)
    solver = {"sol": _solve_reflections, "one-path": _solve_one_path, "trl": _solve_trl}.get(kind)
    if solver is None:
        solved: tuple[Any, ...] = (_solve_full(kind, ports, frequencies, measured, ideal),)
    else:
        solved = solver(ports, frequencies, measured, ideal)
    for calibration in solved:
        try:
            calibration.run()
        except np.linalg.LinAlgError as error:
            raise MeasurementError(
                f"the standards do not determine the {kind} error terms ({error})"
            ) from error
    return Correction(kind, tuple(ports), frequencies, solved)


def correct_one_path(
    correction: Correction, forward: NDArray[np.complex128], reverse: NDArray[np.complex128]
) -> NDArray[np.complex128]:
    """Correct two sweeps of an analyzer that drives port 1 only.

    Parameters
    ----------
    correction
        Of kind ``one-path``.
    forward
        Column (S11, S21) with the device's first port at the analyzer's port 1, shape (frequency, 2).
    reverse
        The same with the device turned round, shape (frequency, 2).

    Returns
    -------
    S of the device, shape (frequency, 2, 2).

    Raises
    ------
    ValueError
        Another kind of calibration or another shape.
    """
    if correction.kind != "one-path":
        raise ValueError(f"expected a one-path calibration, got {correction.kind}")
    networks = []
    for column in (forward, reverse):
        if column.shape != (correction.frequencies.size, 2):
            raise ValueError(f"expected shape {(correction.frequencies.size, 2)}, got {column.shape}")
        raw = np.zeros((correction.frequencies.size, 2, 2), dtype=np.complex128)
        raw[:, :, 0] = column
        networks.append(_network(correction.frequencies, raw))
    return np.asarray(correction.solved[0].apply_cal(tuple(networks)).s, dtype=np.complex128)


def _network(frequencies: NDArray[np.float64], s: NDArray[np.complex128]) -> skrf.Network:
    from skrf.network import Network

    return Network(f=frequencies, f_unit="Hz", s=s, z0=50.0)


def _require_different(steps: tuple[CalibrationStep, ...], measured: Mapping[str, Scattering]) -> None:
    """Refuse a standard that was left on when the next was asked for.

    Raises
    ------
    MeasurementError
        Two reflection standards of one port gave nearly the same raw reflection; both are named.
    """
    single = [step for step in steps if len(step.ports) == 1]
    for place, step in enumerate(single):
        for other in single[:place]:
            if other.ports == step.ports and looks_alike(measured[step.name], measured[other.name]):
                raise MeasurementError(
                    f"the raw sweeps {other.name} and {step.name} are the same; was a standard left on?"
                )


def looks_alike(one: NDArray[np.complex128], other: NDArray[np.complex128]) -> bool:
    """Return whether two raw reflections are those of one standard: nowhere 0.1 apart in the middle.

    Short, open and load differ by about 1 times the tracking; 0.1 is far above noise and drift.
    """
    return bool(np.median(np.abs(one - other)) < 0.1)


def _solve_reflections(
    ports: tuple[int, ...],
    frequencies: NDArray[np.float64],
    measured: Mapping[str, Scattering],
    ideal: Mapping[str, Scattering],
) -> tuple[Any, ...]:
    from skrf.calibration import OnePort

    return tuple(
        OnePort(
            measured=[
                _network(frequencies, measured[f"{name}-{port}"]) for name in ("short", "open", "load")
            ],
            ideals=[_network(frequencies, ideal[f"{name}-{port}"]) for name in ("short", "open", "load")],
        )
        for port in ports
    )


def _solve_one_path(
    ports: tuple[int, ...],
    frequencies: NDArray[np.float64],
    measured: Mapping[str, Scattering],
    ideal: Mapping[str, Scattering],
) -> tuple[Any, ...]:
    from skrf.calibration import TwoPortOnePath

    first, second = ports

    def listed(values: Mapping[str, Scattering]) -> list[skrf.Network]:
        # scikit-rf solves the other direction as well and does not use it; it gets the same numbers
        reflections = [values[f"{name}-{first}"] for name in ("short", "open", "load")]
        thru = np.array(values[f"thru-{first}-{second}"])
        if values is measured:
            thru[:, :, 1] = thru[:, ::-1, 0]
        return [_network(frequencies, s) for s in (*(_both(one, one) for one in reflections), thru)]

    return (TwoPortOnePath(measured=listed(measured), ideals=listed(ideal), n_thrus=1, source_port=1),)


def _solve_trl(
    ports: tuple[int, ...],
    frequencies: NDArray[np.float64],
    measured: Mapping[str, Scattering],
    ideal: Mapping[str, Scattering],
) -> tuple[Any, ...]:
    from skrf.calibration import TRL

    first, second = ports
    _require_line(frequencies, ideal[f"thru-{first}-{second}"], ideal[f"line-{first}-{second}"])

    def listed(values: Mapping[str, Scattering]) -> list[skrf.Network]:
        reflect = _both(values[f"reflect-{first}"], values[f"reflect-{second}"])
        return [
            _network(frequencies, s)
            for s in (values[f"thru-{first}-{second}"], reflect, values[f"line-{first}-{second}"])
        ]

    return (TRL(measured=listed(measured), ideals=listed(ideal), switch_terms=_no_switch_terms(frequencies)),)


def _require_line(frequencies: NDArray[np.float64], thru: Scattering, line: Scattering) -> None:
    """Refuse frequencies at which thru and line are nearly the same up to a sign.

    Raises
    ------
    MeasurementError
        The line is not 20° to 160° (or that and half turns) longer than the thru.
    """
    turn = np.abs(np.angle(line[:, 1, 0] / thru[:, 1, 0])) % np.pi
    bad = (turn < _LINE_RANGE[0]) | (turn > _LINE_RANGE[1])
    if bad.any():
        at = frequencies[bad]
        raise MeasurementError(
            f"the line determines nothing at {bad.sum()} of {bad.size} frequencies ({at.min():g} Hz to "
            f"{at.max():g} Hz): there it is not 20° to 160° longer than the thru. Use another line, or fewer "
            "frequencies"
        )


def _solve_full(
    kind: CalibrationKind,
    ports: tuple[int, ...],
    frequencies: NDArray[np.float64],
    measured: Mapping[str, Scattering],
    ideal: Mapping[str, Scattering],
) -> object:
    """Return a two-port calibration, or scikit-rf's multiport one of every other port with the first."""
    from skrf.calibration import SOLT, MultiportCal, UnknownThru

    method = SOLT if kind == "solt" else UnknownThru
    first = ports[0]

    def pair(values: Mapping[str, Scattering], other: int) -> list[skrf.Network]:
        reflections = [
            _both(values[f"{name}-{first}"], values[f"{name}-{other}"]) for name in ("short", "open", "load")
        ]
        return [_network(frequencies, s) for s in (*reflections, values[f"thru-{first}-{other}"])]

    extra: dict[str, Any] = {} if kind == "solt" else {"switch_terms": _no_switch_terms(frequencies)}
    pairs = {
        (0, place): {"method": method, "measured": pair(measured, other), "ideals": pair(ideal, other)}
        | extra
        for place, other in enumerate(ports[1:], 1)
    }
    if len(pairs) > 1:
        return MultiportCal(pairs)
    only = pairs[0, 1]
    return method(measured=only["measured"], ideals=only["ideals"], **extra)


def _no_switch_terms(frequencies: NDArray[np.float64]) -> tuple[skrf.Network, skrf.Network]:
    nothing = np.zeros((frequencies.size, 1, 1), dtype=np.complex128)
    return _network(frequencies, nothing), _network(frequencies, nothing)


def _both(first: Scattering, second: Scattering) -> Scattering:
    """Return two one-ports side by side as a two-port without transmission."""
    s = np.zeros((first.shape[0], 2, 2), dtype=np.complex128)
    s[:, 0, 0], s[:, 1, 1] = first[:, 0, 0], second[:, 0, 0]
    return s
