"""What the analyzer measures over its wire predicts what the receivers get over theirs.

One simulated bench behind sockets and a serial line, opened as a bench file says. Noise and signal come from
the network's currents in the world; the predictions use measured S-parameters and the noise figure only.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy.stats import chi2

from coilbench.base.nuclei import nucleus
from coilbench.bench import open_bench
from coilbench.bench_file import read_bench_file
from coilbench.procedures.characterise import CharacterisePlan, characterise
from coilbench.procedures.detuning import check_detuning
from coilbench.procedures.quantify import check_noise
from coilbench.procedures.scan import scan_phantom
from coilbench.procedures.tune import NucleusPorts, TunePlan, tune
from coilbench.simulated_bench import bench_file_text
from coils.covariance import compare_covariance, noise_covariance, snr_factor
from coils.tuning.local_state import TuningGoal
from hil_fixtures.instruments.lab import Lab
from hil_fixtures.physics.shot import Shot
from hil_fixtures.physics.world import World

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from coilbench.base.events import Event
    from coilbench.bench import Bench
    from coilbench.procedures.quantify import NoiseCheck

#: A short scan: the noise pre-scan is what matters.
SHORT = {"field_of_view": 0.2, "matrix": 16, "spokes": 128, "noise_windows": 128, "repetitions": 1}
REPETITION_TIME = 0.1
INTERVAL = 10e-6


@contextmanager
def open_lab(folder: Path, seed: int, *, tuned: bool) -> Iterator[tuple[Lab, Bench]]:
    """Start a simulated bench and open it by its bench file."""
    with Lab(seed=seed, tuned=tuned) as lab:
        path = folder / f"bench{seed}.toml"
        path.write_text(bench_file_text(lab.addresses), encoding="utf-8")
        file = read_bench_file(path)
        scan = file.scan.model_copy(update=SHORT)
        with open_bench(file.model_copy(update={"scan": scan})) as bench:
            yield lab, bench


def ports(bench: Bench, name: str = "23Na") -> NucleusPorts:
    """Return the ports of a nucleus; its frequency is that of the field and the nucleus, from no file."""
    array = bench.file.array
    frequency = nucleus(name).larmor_frequency(bench.scanner.b0)
    return NucleusPorts(name, frequency, array.ports[name], array.axes[name])


def measured_s(bench: Bench) -> NDArray[np.complex128]:
    """Return the S-matrix of the 23Na ports by the analyzer."""
    array = bench.file.array
    plan = CharacterisePlan(
        (ports(bench),),
        noise_figure_db=array.preamplifier_noise_figure_db,
        temperature=array.temperature,
    )
    return characterise(bench.analyzer, plan).nuclei[0].s


def noise_in_three_states(folder: Path, seed: int) -> Iterator[NoiseCheck]:
    """Compare receivers and analyzer as soldered, tuned, and with one channel off by about 1 %."""
    with open_lab(folder, seed, tuned=False) as (lab, bench):
        for state in ("soldered", "tuned", "detuned"):
            if state == "tuned":
                lab.world.move_axes(lab.world.reference_positions())
            if state == "detuned":
                axis = f"ch{1 + seed % 8}.na.tune"
                bench.tuner.move({axis: bench.tuner.positions()[axis] - 400})
            s = measured_s(bench)
            worst = np.abs(np.diag(s)).max()
            assert (worst < 0.1) == (state == "tuned"), (state, worst)
            place = folder / f"{seed}-{state}"
            place.mkdir()
            scanned = scan_phantom(bench, place)
            yield check_noise(bench.file, scanned.noise, scanned.noise_bandwidth, s)


def test_received_noise_is_that_of_the_s_matrix(tmp_path: Path) -> None:
    """KTB(I - S Sᴴ) plus preamplifiers, in four arrays and three states each: every one, and their sum."""
    total, freedom = 0.0, 0
    for seed in range(4):
        for check in noise_in_three_states(tmp_path, seed):
            comparison = check.comparison
            assert comparison.agrees(1e-3), (seed, comparison.probability, comparison.power_ratio)
            total += comparison.chi_square
            freedom += comparison.degrees_of_freedom
    low, high = chi2.ppf((5e-4, 1 - 5e-4), freedom)
    assert low < total < high, f"{total:.0f} for {freedom} degrees of freedom"


def test_another_prediction_is_refuted(tmp_path: Path) -> None:
    """Another tuning, no coupling, an array that is not there, 3 % of power: each is told from the truth."""
    soldered, tuned, _ = noise_in_three_states(tmp_path, 5)
    waves = noise_covariance(np.zeros((8, 8), dtype=complex), bandwidth=1.0, temperature=293.15)
    unit = tuned.predicted[0, 0].real / waves[0, 0].real
    # Of 65 000 samples, a little correlated.
    effective = 60_000
    wrong = {
        "other state": (soldered.measured, tuned.predicted),
        "uncoupled": (tuned.measured, np.diag(np.diag(tuned.predicted))),
        "power": (tuned.measured, 1.03 * tuned.predicted),
        "white": (soldered.measured, unit * waves),
    }
    for name, (measured, predicted) in wrong.items():
        assert not compare_covariance(measured, predicted, effective).agrees(1e-6), name


def exact_snr(world: World) -> NDArray[np.float64]:
    """Return each channel's SNR at the centre of k-space from the network's currents and noise: exact."""
    carrier = round(world.frequencies[0] * REPETITION_TIME) / REPETITION_TIME
    pulse = Shot(
        index=0,
        time=0.0,
        transmit_frequency=carrier,
        flip_angle=np.pi / 2,
        rf_centre=-0.1e-3,
        rf_duration=0.2e-3,
        repetition_time=REPETITION_TIME,
        direction=np.array([0.0, 0.0, 1.0]),
        k_times=np.array([0.0, 1e-3]),
        k_radius=np.zeros(2),
    )
    shots = [pulse, replace(pulse, flip_angle=0.0)]  # the same noise in both
    both = world.sample(shots, range(8), carrier, 0.0, INTERVAL, 12)
    power = np.diag(world.noise_covariance(carrier, INTERVAL)).real
    snr: NDArray[np.float64] = np.abs(both[0] - both[1])[:, -1] / np.sqrt(power / 2)
    return snr


def factors(world: World) -> NDArray[np.float64]:
    """Return what S of the 23Na ports alone says of each channel's SNR."""
    s = world.scattering(np.array([world.frequencies[0]]))[0, :8, :8]
    settings = world.settings
    return snr_factor(s, settings.noise_figure_db, temperature=settings.temperature)


def test_s_alone_predicts_a_detuned_channels_snr() -> None:
    """Every channel, 1 % up and down, against the network's currents: within 0.6 % of a loss of 20 to 30 %.

    The rest is the part that the channel's own losses take, which its trimmer changes a little.
    """
    world = World.tuned(0)
    found, predicted = [], []
    tuned_snr, tuned_factor = exact_snr(world), factors(world)
    for channel in range(8):
        axis = f"ch{channel + 1}.na.tune"
        home = world.axis_position(axis)
        for steps in (-400, 400):
            world.move_axes({axis: home + steps})
            found.append((exact_snr(world) / tuned_snr)[channel])
            predicted.append((factors(world) / tuned_factor)[channel])
        world.move_axes({axis: home})
    assert np.max(found) < 0.9
    np.testing.assert_allclose(predicted, found, rtol=0.006)


@pytest.mark.parametrize("seed", [0, 1])
def test_detuning_lowers_the_received_snr_as_predicted(tmp_path: Path, seed: int) -> None:
    """Over all wires, two channels, both ways: 4 standard uncertainties from S, 3.5 from the currents."""
    with open_lab(tmp_path, seed, tuned=True) as (lab, bench):
        for channel in (1 + seed, 6 + seed):
            for shift in (0.01, -0.01):
                exact: dict[str, float] = {}

                def ask_world(event: Event, at: dict[str, float] = exact, row: int = channel - 1) -> None:
                    at[event.kind] = exact_snr(lab.world)[row]

                before = lab.world.axis_position(f"ch{channel}.na.tune")
                check = check_detuning(bench, ports(bench), channel, shift=shift, emit=ask_world)
                truth = exact["detuning.moved"] / exact["detuning.tuned"]
                assert check.shift == pytest.approx(shift, rel=0.35)
                assert abs(check.measured - check.predicted) < 4.0 * check.uncertainty, check
                assert abs(check.measured - truth) < 3.5 * check.uncertainty, (check, truth)
                assert 10 * check.uncertainty < 1.0 - check.predicted, "no loss would not be seen"
                assert lab.world.axis_position(f"ch{channel}.na.tune") == before


@pytest.mark.parametrize("seed", [0, 3])
def test_every_port_is_matched_at_both_frequencies_after_tuning(tmp_path: Path, seed: int) -> None:
    """By the true reflection, not by what the analyzer says: all 16 below -20 dB, some were at 0 dB."""
    with open_lab(tmp_path, seed, tuned=False) as (lab, bench):
        groups = (ports(bench, "23Na"), ports(bench, "1H"))
        frequencies = np.array([group.frequency for group in groups])

        def reflections_db() -> NDArray[np.float64]:
            own = np.diagonal(lab.world.scattering(frequencies), axis1=1, axis2=2)
            return 20 * np.log10(np.abs(np.concatenate((own[0, :8], own[1, 8:]))))

        before = reflections_db()
        result = tune(bench.analyzer, bench.tuner, TunePlan(groups, TuningGoal(aim_db=-26.0)))
        after = reflections_db()
    assert result.reached
    assert before.max() > -1.0
    assert after.max() < -20.0
