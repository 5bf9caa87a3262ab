"""What a measured array will reflect after its trimmers move, from its S-matrix alone.

Assumed of every port, and nothing else of the array: it reaches the coil through a match capacitor in series,
and the tune capacitor lies across the coil's side of it (the usual L-match). Then the S-matrix of all ports,
measured once, holds the answer to every move of every trimmer: take the series capacitors off (as
impedances), add the change of the tune capacitors (as admittances), put the new series capacitors back.
Coupling between channels and between nuclei is inside the measured matrix. Unknown are three numbers for each
port: the series capacitance and both capacitances per step; `learn` finds them from what earlier moves did.

Not in it: losses that change with a trimmer's position, inductance of its leads, cables between the plane of
calibration and the coil. Such errors are proportional to the move, so measuring again after it removes them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Reference impedance of the S-parameters in ohm.
Z0: Final = 50.0
_GUESSES: Final = 121
_ITERATIONS: Final = 12
#: So many ports of one type give a median worth more than each one's own guess; they differ from it by this
#: much (natural logarithm, standard deviation): tolerance, position and bend of the scale.
_ENOUGH_ALIKE: Final = 3
_SPREAD_ALIKE: Final = 0.3
#: Smallest believed error of a prediction: noise, drift, directivity.
_ERROR_FLOOR: Final = 1e-3


@dataclass(frozen=True, slots=True)
class Trimmers:
    """What is believed of the trimmers, at the positions of one sweep.

    Parameters
    ----------
    match_capacitance
        Series capacitance of each port in F, shape (port,).
    match_slope, tune_slope
        Capacitance per step in F, shape (port,).
    covariance
        Of the natural logarithms of the three, in that order, shape (3 port, 3 port).
    """

    match_capacitance: NDArray[np.float64]
    match_slope: NDArray[np.float64]
    tune_slope: NDArray[np.float64]
    covariance: NDArray[np.float64]

    def changed(self, logarithms: NDArray[np.float64]) -> Trimmers:
        """Return these trimmers with each number multiplied by exp of its entry, shape (3 port,)."""
        match, slope, tune = np.exp(logarithms).reshape(3, -1)
        return Trimmers(
            self.match_capacitance * match, self.match_slope * slope, self.tune_slope * tune, self.covariance
        )

    def moved(self, steps: NDArray[np.float64]) -> Trimmers:
        """Return what is believed after a move, with what a curved trimmer may have changed added.

        Parameters
        ----------
        steps
            Tune and match steps, shape (port, 2).
        """
        after = self.match_after(steps[:, 1])
        count = self.match_slope.size
        carry = np.eye(3 * count)
        share = self.match_slope * steps[:, 1] / after
        own = np.arange(count)
        carry[own, own] = self.match_capacitance / after
        carry[own, own + count] = share
        # a trimmer's slope changes by about its curvature times the move: some percent over half its travel
        curvature = 3e-5 * np.abs(steps)
        growth = np.concatenate([curvature[:, 1] * np.abs(share), curvature[:, 1], curvature[:, 0]]) + 2e-3
        covariance = carry @ self.covariance @ carry.T + np.diag(growth**2)
        return Trimmers(after, self.match_slope, self.tune_slope, covariance)

    def match_after(self, steps: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the series capacitances after so many match steps; they stay positive."""
        return np.maximum(self.match_capacitance + self.match_slope * steps, 0.05 * self.match_capacitance)


@dataclass(frozen=True, slots=True)
class Transition:
    """Two sweeps and the move between them.

    Parameters
    ----------
    frequencies
        Hz, shape (frequency,).
    before, after
        Shape (frequency, port, port).
    steps
        Tune and match steps moved, shape (port, 2).
    """

    frequencies: NDArray[np.float64]
    before: NDArray[np.complex128]
    after: NDArray[np.complex128]
    steps: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Prediction:
    """S after a move and its sensitivities to each port's two capacitors.

    Parameters
    ----------
    s
        Shape (frequency, port, port).
    by_match, by_tune, by_start
        Vectors u with dS_ij = factor_k u_ik u_jk for port k's series impedance after the move, admittance
        across the coil after it, and series impedance before it; shape (frequency, port, port k).
    omega
        Angular frequency, shape (frequency, 1).
    match_after
        Series capacitances after the move, F, shape (port,).
    """

    s: NDArray[np.complex128]
    by_match: NDArray[np.complex128]
    by_tune: NDArray[np.complex128]
    by_start: NDArray[np.complex128]
    omega: NDArray[np.float64]
    match_after: NDArray[np.float64]

    def match_factor(self, change: NDArray[np.float64]) -> NDArray[np.complex128]:
        """Return factors for series capacitances that change by ``change`` F; shape (frequency, port)."""
        return np.asarray(2j * Z0 * change / (self.omega * self.match_after**2), dtype=np.complex128)

    def tune_factor(self, change: NDArray[np.float64]) -> NDArray[np.complex128]:
        """Return factors for tune capacitances that change by ``change`` F; shape (frequency, port)."""
        return np.asarray(-2j * Z0 * self.omega * change, dtype=np.complex128)


def predict(
    trimmers: Trimmers,
    frequencies: NDArray[np.float64],
    s: NDArray[np.complex128],
    steps: NDArray[np.float64],
) -> Prediction:
    """Predict the S-matrix after a move.

    Parameters
    ----------
    trimmers
        Believed at the position where ``s`` was measured.
    frequencies
        Hz, shape (frequency,).
    s
        Shape (frequency, port, port).
    steps
        Tune and match steps, shape (port, 2).
    """
    omega = 2.0 * np.pi * frequencies[:, None]
    identity = np.eye(s.shape[-1])
    own = np.arange(s.shape[-1])
    inner = 2.0 * Z0 * np.linalg.inv(identity - s)
    inner[:, own, own] -= Z0 + 1.0 / (1j * omega * trimmers.match_capacitance)
    added = 1j * omega * (trimmers.tune_slope * steps[:, 0])
    # (Y + jB)⁻¹ = Z (1 + jB Z)⁻¹, which never inverts the inner impedance
    ratio = np.linalg.inv(identity + added[:, :, None] * inner)
    changed = inner @ ratio
    match_after = trimmers.match_after(steps[:, 1])
    total = changed.copy()
    total[:, own, own] += Z0 + 1.0 / (1j * omega * match_after)
    outer = np.linalg.inv(total)
    return Prediction(
        s=np.asarray(identity - 2.0 * Z0 * outer, dtype=np.complex128),
        by_match=np.asarray(outer, dtype=np.complex128),
        by_tune=np.asarray(outer @ changed, dtype=np.complex128),
        by_start=np.asarray(outer @ ratio.swapaxes(1, 2), dtype=np.complex128),
        omega=omega,
        match_after=match_after,
    )


def reflections(s: NDArray[np.complex128], bands: NDArray[np.intp]) -> NDArray[np.complex128]:
    """Return each port's own reflection at its own frequency.

    Parameters
    ----------
    s
        Shape (frequency, port, port).
    bands
        Index of each port's frequency, shape (port,).
    """
    own = np.arange(bands.size)
    return np.asarray(s[bands, own, own], dtype=np.complex128)


def first_guess(match_probe: Transition, tune_probe: Transition, groups: NDArray[np.intp]) -> Trimmers:
    """Return what two small moves tell: all match trimmers first, then, from there, all tune trimmers.

    A series capacitance changes the impedance matrix by just its own reactance. The tune trimmer's change is
    a pure susceptance only behind the right series capacitance: of many guesses the one that makes it so is
    taken. Coupling between channels is neglected here; `learn` puts it back.

    Parameters
    ----------
    match_probe, tune_probe
        Every port's match, then every port's tune trimmer moved by an amount other than 0.
    groups
        Number of each port's type of trimmers (its nucleus), shape (port,).
    """
    omega = 2.0 * np.pi * match_probe.frequencies[:, None]
    change = _elastance_change(match_probe)

    before, after = _own_impedance(tune_probe.before), _own_impedance(tune_probe.after)
    guesses = np.geomspace(0.3e-12, 1e-9, _GUESSES)[:, None, None]
    series = 1.0 / (1j * omega * guesses)
    inner = after - series
    susceptance = 1.0 / inner - 1.0 / (before - series)
    effect = inner**2 / (after + Z0) ** 2
    weights = np.abs(effect) ** 2
    slope = np.sum(weights * omega * susceptance.imag, axis=1) / np.sum(weights * omega**2, axis=1)
    misfit = np.sum(np.abs(effect * (susceptance - 1j * omega * slope[:, None, :])) ** 2, axis=1)
    misfit = np.where(slope * tune_probe.steps[:, 0] > 0.0, misfit, np.inf)
    best = np.argmin(misfit, axis=0)
    ports = np.arange(best.size)
    after_match = guesses[best, 0, 0]
    tune_slope = slope[best, ports] / tune_probe.steps[:, 0]
    # change = 1/C_before - 1/C_after
    before_match = 1.0 / np.maximum(change + 1.0 / after_match, 0.2 / after_match)
    match_slope = (after_match - before_match) / match_probe.steps[:, 1]
    found = np.stack([before_match, np.maximum(match_slope, 1e-6 * after_match), tune_slope])
    spread = np.repeat([[0.5], [0.7], [0.7]], best.size, axis=1)
    for group in np.unique(groups):
        alike = groups == group
        if np.count_nonzero(alike) >= _ENOUGH_ALIKE:
            found[:, alike] = np.median(found[:, alike], axis=1, keepdims=True)
            spread[:, alike] = _SPREAD_ALIKE
    return Trimmers(found[0], found[1], found[2], np.diag(spread.ravel() ** 2))


def probed_slopes(trimmers: Trimmers, match_probe: Transition, tune_probe: Transition) -> NDArray[np.float64]:
    """Return the capacitance per step that each probed trimmer showed by itself, without its fellows' help.

    Of the open-circuit impedance matrix a match trimmer changes its own diagonal term only, and so does a
    tune trimmer of the admittance matrix behind the match capacitors: a trimmer that did not move shows
    nothing.

    Parameters
    ----------
    trimmers
        Believed at the start of the tune probe.
    match_probe, tune_probe
        As for `first_guess`.

    Returns
    -------
    Shape (port, 2), tune and match, F per step; uncertain by tens of percent far from resonance.
    """
    omega = 2.0 * np.pi * match_probe.frequencies[:, None]
    change = _elastance_change(match_probe)
    own = np.arange(change.size)
    inner = []
    for s in (tune_probe.before, tune_probe.after):
        impedance = 2.0 * Z0 * np.linalg.inv(np.eye(own.size) - s)
        impedance[:, own, own] -= Z0 + 1.0 / (1j * omega * trimmers.match_capacitance)
        inner.append(np.linalg.inv(impedance)[:, own, own])
    weight = np.abs(inner[0]) ** -2.0
    added = np.sum(weight * (inner[1] - inner[0]).imag / omega, axis=0) / np.sum(weight, axis=0)
    by_match = change * trimmers.match_capacitance**2 / match_probe.steps[:, 1]
    return np.stack([added / tune_probe.steps[:, 0], by_match], axis=1)


def learn(trimmers: Trimmers, transition: Transition) -> Trimmers:
    """Update what is believed by what a move did, and return it for the position before the move.

    Gauss-Newton on all S-parameters with the old belief as prior (one step of an iterated Kalman filter).
    """
    upper = np.triu_indices(transition.before.shape[-1])
    information = np.linalg.inv(trimmers.covariance)
    count = trimmers.tune_slope.size
    logarithms = np.zeros(3 * count)
    # neighbouring frequencies repeat each other's errors: together they count as few independent ones
    share = min(1.0, 8.0 / transition.frequencies.size)
    damping = 0.0
    best: tuple[float, NDArray[np.float64], NDArray[np.float64]] | None = None
    for _ in range(_ITERATIONS):
        belief = trimmers.changed(logarithms)
        found = predict(belief, transition.frequencies, transition.before, transition.steps)
        misfit = (transition.after - found.s)[:, upper[0], upper[1]].ravel()
        columns = _by_belief(belief, found, transition.steps, upper)
        variance = max(float(np.mean(np.abs(misfit) ** 2)), _ERROR_FLOOR**2)
        normal = share * (columns.conj().T @ columns).real / variance + information
        gradient = share * (columns.conj().T @ misfit).real / variance - information @ logarithms
        cost = misfit.size * np.log(variance) * share + float(logarithms @ information @ logarithms)
        if best is not None and cost > best[0]:
            damping = max(10.0 * damping, 1e-2)
            logarithms = 0.5 * (logarithms + best[1])
            continue
        best = (cost, logarithms, normal)
        step = np.linalg.solve(normal + damping * np.diag(np.diag(normal)), gradient)
        logarithms = logarithms + np.clip(step, -0.5, 0.5)
        if float(np.max(np.abs(step))) < 1e-6:
            break
    if best is None:
        return trimmers
    found_trimmers = trimmers.changed(best[1])
    return Trimmers(
        found_trimmers.match_capacitance,
        found_trimmers.match_slope,
        found_trimmers.tune_slope,
        np.asarray(np.linalg.inv(best[2]), dtype=np.float64),
    )


def prediction_error(trimmers: Trimmers, transition: Transition) -> float:
    """Return the rms error of the predicted own reflections of a move."""
    found = predict(trimmers, transition.frequencies, transition.before, transition.steps)
    own = np.arange(found.s.shape[-1])
    return float(np.sqrt(np.mean(np.abs((transition.after - found.s)[:, own, own]) ** 2)))


def solve_steps(
    trimmers: Trimmers,
    frequencies: NDArray[np.float64],
    s: NDArray[np.complex128],
    bands: NDArray[np.intp],
    lowest: NDArray[np.float64],
    highest: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the steps after which no port should reflect at its own frequency, within the travel left.

    Parameters
    ----------
    frequencies, s
        The ports' own frequencies and S there, shapes (frequency,), (frequency, port, port).
    bands
        Index of each port's frequency, shape (port,).
    lowest, highest
        Travel left in steps, tune and match, shape (port, 2).

    Returns
    -------
    Shape (port, 2). Where the travel does not suffice, the sum of the squared reflections is least.
    """
    from scipy.optimize import least_squares

    start = _match_in_turn(trimmers, frequencies, s, bands, lowest, highest)
    own = np.arange(bands.size)

    def misfit(flat: NDArray[np.float64]) -> NDArray[np.float64]:
        gamma = reflections(predict(trimmers, frequencies, s, flat.reshape(-1, 2)).s, bands)
        return np.concatenate([gamma.real, gamma.imag])

    def jacobian(flat: NDArray[np.float64]) -> NDArray[np.float64]:
        found = predict(trimmers, frequencies, s, flat.reshape(-1, 2))
        by_tune = found.by_tune[bands, own] ** 2 * found.tune_factor(trimmers.tune_slope)[bands]
        by_match = found.by_match[bands, own] ** 2 * found.match_factor(trimmers.match_slope)[bands]
        both = np.stack([by_tune, by_match], axis=-1).reshape(bands.size, -1)
        return np.concatenate([both.real, both.imag])

    room = np.maximum(highest - lowest, 1e-3)
    low, high = lowest.ravel(), (lowest + room).ravel()
    inside = np.clip(start.ravel(), low + 1e-6 * room.ravel(), high - 1e-6 * room.ravel())
    solution = least_squares(
        misfit,
        inside,
        jac=jacobian,  # pyright: ignore[reportArgumentType] - scipy takes a callable too
        bounds=(low, high),
        x_scale=100.0,
        max_nfev=60,
        xtol=1e-7,
        ftol=1e-7,
    )
    return np.asarray(solution.x, dtype=np.float64).reshape(-1, 2)


def _match_in_turn(
    trimmers: Trimmers,
    frequencies: NDArray[np.float64],
    s: NDArray[np.complex128],
    bands: NDArray[np.intp],
    lowest: NDArray[np.float64],
    highest: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Match every port by the closed form of an L-match as if alone, and again with what that changed.

    With the admittance G + jB behind the series capacitor, the tune capacitor brings B to -sqrt(G/Z0 - G²)
    and the series reactance cancels the rest.
    """
    own = np.arange(bands.size)
    omega = 2.0 * np.pi * frequencies[bands]
    steps = np.zeros((bands.size, 2))
    best, least = steps, np.inf
    for _ in range(_ITERATIONS):
        gamma = reflections(predict(trimmers, frequencies, s, steps).s, bands)
        size = float(np.sum(np.abs(gamma) ** 2))
        if size < least:
            best, least = steps, size
        gamma = np.where(np.abs(1.0 - gamma) < 1e-6, 1.0 - 1e-6, gamma)
        capacitance = trimmers.match_after(steps[:, 1])
        inner = 1.0 / (Z0 * (1.0 + gamma) / (1.0 - gamma) - 1.0 / (1j * omega * capacitance))
        conductance = np.clip(inner.real, 1e-6, 0.9 / Z0)
        wanted = -np.sqrt(conductance / Z0 - conductance**2)
        reactance = (1.0 / (conductance + 1j * wanted)).imag
        by_tune = (wanted - inner.imag) / (omega * trimmers.tune_slope)
        by_match = (1.0 / (omega * reactance) - capacitance) / trimmers.match_slope
        steps = np.clip(steps + 0.7 * np.stack([by_tune, by_match], axis=1), lowest, highest)
    gamma = reflections(predict(trimmers, frequencies, s, steps).s, bands)
    return steps if float(np.sum(np.abs(gamma[own]) ** 2)) < least else best


def _own_impedance(s: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """Return the impedance into each port with the others terminated, shape (frequency, port)."""
    gamma = np.diagonal(s, axis1=1, axis2=2)
    return np.asarray(Z0 * (1.0 + gamma) / (1.0 - gamma), dtype=np.complex128)


def _elastance_change(match_probe: Transition) -> NDArray[np.float64]:
    """Return 1/C before - 1/C after of each series capacitor in 1/F, shape (port,).

    From the impedance into each port with the others open, which no other match trimmer changes.
    """
    identity = np.eye(match_probe.before.shape[-1])
    before, after = (
        np.diagonal(2.0 * Z0 * np.linalg.inv(identity - s), axis1=1, axis2=2)
        for s in (match_probe.before, match_probe.after)
    )
    omega = 2.0 * np.pi * match_probe.frequencies[:, None]
    weight = np.abs(after) ** -4.0
    change = np.sum(weight * omega * (after - before).imag, axis=0) / np.sum(weight, axis=0)
    return np.asarray(change, dtype=np.float64)


def _by_belief(
    trimmers: Trimmers,
    found: Prediction,
    steps: NDArray[np.float64],
    upper: tuple[NDArray[np.intp], NDArray[np.intp]],
) -> NDArray[np.complex128]:
    """Return dS of the upper triangle by the logarithms of match capacitance, match slope and tune slope."""

    def products(vectors: NDArray[np.complex128], factor: NDArray[np.complex128]) -> NDArray[np.complex128]:
        pairs = vectors[:, upper[0], :] * vectors[:, upper[1], :] * factor[:, None, :]
        return np.asarray(pairs.reshape(-1, factor.shape[-1]), dtype=np.complex128)

    match = trimmers.match_capacitance
    start = np.asarray(-2j * Z0 / (found.omega * match), dtype=np.complex128)
    by_capacitance = np.add(
        products(found.by_match, found.match_factor(match)), products(found.by_start, start)
    )
    by_match_slope = products(found.by_match, found.match_factor(trimmers.match_slope * steps[:, 1]))
    by_tune_slope = products(found.by_tune, found.tune_factor(trimmers.tune_slope * steps[:, 0]))
    return np.concatenate([by_capacitance, by_match_slope, by_tune_slope], axis=1)
