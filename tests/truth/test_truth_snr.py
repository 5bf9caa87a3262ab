"""SNR in units of the noise is what it says, and a badly tuned array has less of it.

Scans over all wires of simulated benches, played twice, with the same vials and spokes at two tunings: the
analytic noise of every voxel, the difference of two scans and a synthetic noise scan must agree. The scan is
small (1000 spokes, 12 us) so that the suite stays short.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy.constants import Boltzmann, epsilon_0, mu_0
from scipy.integrate import quad
from scipy.special import spherical_jn

from acquisition.playback import read_stream
from coilbench.base.nuclei import nucleus
from coilbench.bench import open_bench
from coilbench.bench_file import read_bench_file
from coilbench.procedures.quantify import phantom_model, quantify_scan
from coilbench.procedures.scan import scan_phantom
from coilbench.simulated_bench import bench_file_text
from coilbench.ultimate_snr import ultimate_share
from coils.covariance import snr_factor
from coils.resonance import fit_resonance
from drivers.protocols import Segment, SweepPlan
from hil_fixtures.instruments.lab import Lab
from hil_fixtures.physics import kspace
from hil_fixtures.physics.network import Z0
from hil_fixtures.physics.spins import equilibrium_magnetization, steady_state
from recon.live import LiveReconstruction
from recon.regions import body_mask
from recon.voxel_noise import noise_of_pseudo_replica, noise_of_repeated_scans

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from coilbench.bench_file import BenchFile
    from coilbench.procedures.quantify import Quantified
    from coilbench.procedures.scan import Scanned
    from hil_fixtures.physics.world import World

SCAN = {
    "field_of_view": 0.2,
    "matrix": 40,
    "spokes": 1000,
    "dwell_time": 12e-6,
    "noise_windows": 64,
    "repetitions": 2,
}


@dataclass(frozen=True)
class Case:
    """One array, scanned twice and quantified."""

    file: BenchFile
    raw: Path
    scanned: Scanned
    result: Quantified
    factors: NDArray[np.float64]
    centre_rate: float


def centre_rate(world: World) -> float:
    """Return the best SNR of 1 A m² at the centre in one second, of the world's own fields and noise."""
    chain = world.receive_chain(world.frequencies[0])
    field = np.array(
        [kspace.receive_field(world.circuit.array, loop, np.zeros((1, 3)))[0] for loop in range(8)]
    )
    volts = chain.volts_per_flux() @ field
    psi = chain.density * 2.0 * Z0 * 10.0 ** (chain.gain_db / 10.0)
    return float(np.sqrt((volts.conj() @ np.linalg.solve(psi / 2.0, volts)).real))


def ultimate_rate(radius: float, conductivity: float, permittivity: float, frequency: float) -> float:
    """Return the ultimate SNR of 1 A m² at a ball's centre in one second at 293.15 K, by numerical integral.

    Two linear l = 1 modes in quadrature, each losing sigma |E|² with E of |j1(kr)| in the ball.
    """
    omega = 2 * np.pi * frequency
    k = np.sqrt(omega**2 * mu_0 * permittivity * epsilon_0 - 1j * omega * mu_0 * conductivity)
    integral = quad(lambda r: abs(spherical_jn(1, k * r)) ** 2 * r**2, 0, radius, epsabs=0, epsrel=1e-10)[0]
    resistance = conductivity * 8 * np.pi / 3 * integral / (4 * abs(k) ** 2 / (9 * omega**2))
    return float(np.sqrt(2.0) * omega / np.sqrt(4 * Boltzmann * 293.15 * resistance))


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Case]:
    """Scan the same array tuned and as soldered, and another one tuned."""
    found = {}
    for name, seed, tuned in (("tuned", 1, True), ("soldered", 1, False), ("other", 2, True)):
        folder = tmp_path_factory.mktemp(name)
        with Lab(seed=seed, tuned=tuned) as lab:
            path = folder / "bench.toml"
            path.write_text(bench_file_text(lab.addresses), encoding="utf-8")
            file = read_bench_file(path)
            file = file.model_copy(update={"scan": file.scan.model_copy(update=SCAN)})
            with open_bench(file) as bench:
                scanned = scan_phantom(bench, folder)
            s = lab.world.scattering(np.array([lab.world.frequencies[0]]))[0, :8, :8]
            rate = centre_rate(lab.world)
        array = file.array
        factors = snr_factor(s, array.preamplifier_noise_figure_db, temperature=array.temperature)
        found[name] = Case(file, folder / "raw.mrd", scanned, quantify_scan(file, scanned), factors, rate)
    return found


def test_two_scans_differ_by_the_stated_noise(cases: dict[str, Case]) -> None:
    """In each array within 4 standard errors, and together; sqrt(2) would be 20 standard errors away."""
    ratios = [case.result.repeated_scans for case in cases.values()]
    assert all(ratio is not None for ratio in ratios)
    pulls = [(ratio.ratio - 1) / ratio.uncertainty for ratio in ratios if ratio is not None]
    assert np.max(np.abs(pulls)) < 4.0
    assert abs(np.sum(pulls)) < 4.0 * np.sqrt(len(pulls))
    assert all(4.0 * ratio.uncertainty < (1 - 2**-0.5) / 3 for ratio in ratios if ratio is not None)


def test_synthetic_noise_is_the_stated_noise(cases: dict[str, Case]) -> None:
    """One pseudo-replica of each array, and six more of one: their mean is nearer by root six."""
    for case in cases.values():
        found = case.result.pseudo_replica
        assert abs(found.ratio - 1) < 4.0 * found.uncertainty
    case = cases["tuned"]
    images, sensitivities = case.scanned.images[0], case.result.tsc.sensitivities
    body = body_mask(images.grid, phantom_model(case.file))
    more = [noise_of_pseudo_replica(images, sensitivities, body, seed=seed) for seed in range(1, 7)]
    mean = np.mean([found.ratio for found in more])
    assert abs(mean - 1) < 4.0 * more[0].uncertainty / np.sqrt(len(more))
    # The ratios scatter as they say: chi-square of five degrees of freedom, 0.1 % on either side.
    scatter = np.var([found.ratio for found in more]) * len(more) / more[0].uncertainty ** 2
    assert 0.2 < scatter < 20.6


def test_two_scans_agree_with_synthetic_noise(cases: dict[str, Case]) -> None:
    """The two ways to find noise without a model of it agree within 4 combined standard errors."""
    for case in cases.values():
        one, other = case.result.repeated_scans, case.result.pseudo_replica
        assert one is not None
        assert abs(one.ratio - other.ratio) < 4.0 * np.hypot(one.uncertainty, other.uncertainty)


def test_wrong_noise_would_be_seen(cases: dict[str, Case]) -> None:
    """Complex for real deviation, and data that were not whitened: both far outside the tolerance."""
    case = cases["soldered"]
    first, second = case.scanned.images
    sensitivities = case.result.tsc.sensitivities
    body = body_mask(first.grid, phantom_model(case.file))

    complex_for_real = replace(first, noise_gain=first.noise_gain * np.sqrt(2))
    found = noise_of_repeated_scans(complex_for_real, second, sensitivities, body)
    assert abs(found.ratio - 1) > 12.0 * found.uncertainty

    # The same recording with every channel taken to have the strongest one's noise, and no correlation.
    model = case.scanned.noise
    strongest = np.eye(model.channels) * np.max(np.diag(model.covariance).real)
    alike = replace(model, covariance=strongest.astype(np.complex128))
    lives = [LiveReconstruction(first.grid, noise=alike) for _ in range(2)]
    recording: Iterator[Any] = read_stream(case.raw)
    for acquisition in recording:
        if acquisition.traj.size:
            lives[acquisition.idx.repetition].feed(acquisition)
    raw = [live.snapshot() for live in lives]
    found = noise_of_repeated_scans(raw[0], raw[1], sensitivities, body)
    assert abs(found.ratio - 1) > 6.0 * found.uncertainty


def test_a_badly_tuned_array_gives_a_visibly_worse_image(cases: dict[str, Case]) -> None:
    """The loss of the combined image is that of the channels' SNR by S alone, to 15 %.

    Channels add in squares; they share the bath unequally, hence the 15 %.
    """
    tuned, soldered = cases["tuned"], cases["soldered"]
    loss = tuned.result.median_snr / soldered.result.median_snr
    predicted = np.linalg.norm(tuned.factors) / np.linalg.norm(soldered.factors)
    assert loss > 1.25
    assert loss == pytest.approx(predicted, rel=0.15)
    assert np.linalg.norm(cases["other"].factors) == pytest.approx(np.linalg.norm(tuned.factors), rel=0.01)
    assert cases["other"].result.median_snr == pytest.approx(tuned.result.median_snr, rel=0.1)


def test_the_share_of_the_ultimate_snr_is_that_of_the_worlds_fields_and_noise(cases: dict[str, Case]) -> None:
    """Within 4 standard uncertainties, which are below 10 %; never above 1, and less for the bad array.

    The world's best combination at the centre, from its own fields and noise density, over a numerical
    integral of the ball's losses. The world's fields are quasi-static there: at most 2 % below full waves.
    """
    shares = {}
    for name, case in cases.items():
        found = ultimate_share(case.file, case.scanned, case.result)
        phantom = case.file.phantom
        assert phantom.conductivity is not None
        rate = ultimate_rate(
            phantom.radius,
            phantom.conductivity,
            phantom.permittivity,
            case.file.larmor_frequency("23Na"),
        )
        expected = case.centre_rate / rate
        assert abs(found.share - expected) < 4 * found.uncertainty + 0.02 * expected, (name, found, expected)
        assert found.uncertainty < 0.1 * found.share
        assert 0.2 < found.share < 1
        shares[name] = found.share
        # and both numbers by themselves: the bath of 30 mmol/L in a voxel of this scan
        plan = case.scanned.plan
        moment = equilibrium_magnetization(nucleus("23Na"), 30.0, 3.0, 293.15)
        moment *= steady_state(plan.flip_angle, plan.repetition_time, 55e-3)
        moment *= np.exp(-case.scanned.readout.echo_time / 50e-3)
        voxel = moment * np.sqrt(case.scanned.dwell_time) / case.scanned.images[0].noise_gain
        assert abs(found.measured.value - voxel * case.centre_rate) < 4 * found.measured.uncertainty
        assert abs(found.ultimate - voxel * rate) < 4 * found.ultimate_uncertainty
        assert found.ultimate_uncertainty < 0.06 * found.ultimate
    assert shares["soldered"] < 0.9 * shares["tuned"]


def test_sodium_is_right_over_the_wires_too(cases: dict[str, Case]) -> None:
    """Every vial within 4 standard uncertainties, whatever the tuning; a bad array knows it is worse."""
    for case in cases.values():
        for stated, vial in zip(case.file.phantom.vials, case.result.tsc.vials, strict=True):
            error = vial.concentration - stated.concentration_mmol_l
            assert abs(error) < 4.0 * vial.uncertainty, (stated.name, error, vial.uncertainty)
    for good, bad in zip(cases["tuned"].result.tsc.vials, cases["soldered"].result.tsc.vials, strict=True):
        assert dict(bad.contributions)["noise"] > dict(good.contributions)["noise"]


def test_the_load_changes_the_s_matrix_and_lowers_q(tmp_path: Path) -> None:
    """One channel, the others off by their diodes: losses 1/Q0 - 1/Q0(empty) go with the conductivity."""
    with Lab(seed=1, tuned=True) as lab:
        path = tmp_path / "bench.toml"
        path.write_text(bench_file_text(lab.addresses), encoding="utf-8")
        file = read_bench_file(path)
        centre = file.larmor_frequency("23Na")
        with open_bench(file) as bench:
            for channel in range(2, 9):
                bench.tuner.set_bias(channel, 0.08)
            bench.analyzer.configure(SweepPlan((Segment(0.97 * centre, 1.03 * centre, 401),), 1e3, -10.0))
            fits, matched = [], []
            for conductivity in (None, 0.3, 0.6):
                if conductivity is None:
                    lab.world.remove_load()
                else:
                    lab.world.set_load(conductivity)
                network = bench.analyzer.sweep([1])
                reflection = np.ascontiguousarray(network.s[:, 0, 0])
                fits.append(fit_resonance(np.asarray(network.f), reflection))
                matched.append(abs(reflection[len(reflection) // 2]))
    loaded = [fit.q_loaded for fit in fits]
    assert loaded[0] > 1.05 * loaded[1] > 1.05**2 * loaded[2]
    empty, half, full = (1.0 / fit.q_unloaded for fit in fits)
    assert (full - empty) / (half - empty) == pytest.approx(2.0, rel=0.03)
    assert matched[0] > matched[2] + 0.1, "tuned on the phantom, it is not matched without it"
