"""Sodium concentrations are as uncertain as they say: many worlds, many phantoms, the true ones known.

Every seed is another array, another noise and another phantom: relaxation times, reference concentrations
and flip angle are drawn within the bench file's tolerances, the unknown concentrations at will. The scan is
shortened honestly: 1000 spokes of 5 mm resolution at 20 us, sampled from the world without wires (those have
their own tests), and the noise of signal and pre-scan is halved, as in the mean of four scans: that is near
the uncertainty of the default scan, and systematic parts count beside noise. Filter, acquisitions,
reconstruction and quantification are the product's.

Not in the budget, and seen when the noise is much smaller: undersampling leaves up to 1 % of a vial's
concentration, and more where directions are uneven and their solid angles are not used as weights.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy.stats import binom, chi2

from acquisition.assemble import Assembler
from acquisition.demodulate import design_filter
from acquisition.plan import plan_scan
from acquisition.sort import Line, LineFlag, find_readout
from coilbench.bench_file import read_bench_file
from coilbench.procedures.quantify import phantom_model
from coilbench.simulated_bench import DEFAULT_ADDRESSES, bench_file_text
from drivers.protocols import ReceiveBlock, ReceivePlan, ReceiveSetting
from hil_fixtures.physics.phantom import DEFAULT_PHANTOM
from hil_fixtures.physics.shot import Shot
from hil_fixtures.physics.world import World, WorldSettings
from recon.density import solid_angles
from recon.grid import Grid
from recon.live import LiveReconstruction
from recon.psf import RadialReadout
from recon.tsc import Protocol, quantify

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from coilbench.bench_file import BenchFile
    from hil_fixtures.physics.phantom import Compartment, Phantom
    from recon.live import ChannelImages
    from recon.tsc import TscResult

SEEDS = 20
#: Scans whose mean is quantified: divides the noise amplitude by its root.
AVERAGES = 4
CHECKS = [4, 5, 6]
#: Two-sided chance of a false alarm of each test below.
CHANCE = 1e-3
RECEIVER_CLOCK = 122.88e6
STAGES = 6


class Rig:
    """A scan of the world without wires: what receivers would deliver, sorted and reconstructed."""

    def __init__(self, file: BenchFile) -> None:
        self.file = file
        self.model = phantom_model(file)
        # The dead time lets twelve filter taps of 20 us settle before the gradient starts.
        self.plan = plan_scan(
            b0=file.b0,
            fov=0.2,
            matrix=40,
            spokes=1000,
            dwell_time=20e-6,
            dead_time=0.2e-3,
            max_gradient=0.01,
            max_slew=170.0,
            noise_windows=64,
        )
        plan = self.plan
        decimation = round(plan.receiver_interval * RECEIVER_CLOCK)
        self.interval = decimation / RECEIVER_CLOCK
        self.setting = ReceiveSetting(
            ReceivePlan(plan.transmit_frequency, self.interval, plan.window_samples),
            (1 - STAGES // 2) * self.interval,
            STAGES,
            STAGES,
            decimation,
        )
        self.filter = design_filter(stages=STAGES, decimation=decimation, interval=self.interval)
        self.readout = find_readout(self.setting, self.filter, plan.dead_time, plan.readout_duration)
        assert self.readout.flags is LineFlag.NONE
        self.spoke = RadialReadout(
            self.readout.times + plan.pulse_duration / 2,
            plan.design.radius(self.readout.times - plan.dead_time),
            "hamming",
            plan.kmax,
        )

    def received(self, world: World, first: int, count: int, flip_angle: float) -> NDArray[np.complex128]:
        """Return what the receivers sample of shots counted from ``first``, (shot, channel, sample)."""
        plan = self.plan
        design, directions = plan.design, plan.directions
        edges = np.arange(design.waveform().size + 1, dtype=np.float64) * design.raster
        k_times = np.asarray(plan.dead_time + edges, dtype=np.float64)
        k_radius = design.radius(edges)
        shots = [
            Shot(
                index=first + number,
                time=number * plan.repetition_time,
                transmit_frequency=plan.transmit_frequency,
                flip_angle=flip_angle,
                rf_centre=-plan.pulse_duration / 2,
                rf_duration=plan.pulse_duration,
                repetition_time=plan.repetition_time,
                direction=directions[number],
                k_times=k_times,
                k_radius=k_radius,
            )
            for number in range(count)
        ]
        channels = range(world.channel_count)
        return world.sample(shots, channels, plan.transmit_frequency, 0.0, self.interval, plan.window_samples)

    def image(
        self,
        noise: NDArray[np.complex128],
        data: NDArray[np.complex128],
        angles: NDArray[np.float64] | None = None,
    ) -> ChannelImages:
        """Return the channel images of a noise pre-scan and a scan."""
        plan = self.plan
        live = LiveReconstruction(Grid.cube(plan.matrix, plan.fov), batch=plan.spokes, angles=angles)
        for windows, is_noise in ((noise, True), (data, False)):
            assembler = Assembler(self.plan, self.setting, self.filter, self.readout, noise=is_noise)
            count, samples = len(windows), windows.shape[-1]
            block = ReceiveBlock(windows.astype(np.complex64), 0, np.arange(count) * samples)
            lines = [Line(number, number, number, LineFlag.NONE) for number in range(count)]
            for acquisition in assembler.acquisitions(block, lines):
                live.feed(acquisition)
        return live.snapshot()

    def quantify(self, images: ChannelImages, draws: int = 2000) -> TscResult:
        """Return the concentrations as the bench would, knowing what the bench file says."""
        protocol = Protocol(self.plan.repetition_time, self.plan.flip_angle)
        return quantify(images, self.model, self.spoke, protocol, draws=draws)

    def scan(self, world: World, flip_error: float = 0.0) -> tuple[TscResult, TscResult]:
        """Return concentrations of a noisy scan and of the same scan without noise."""
        plan = self.plan
        windows = self.received(world, 0, plan.noise_windows, 0.0) / np.sqrt(AVERAGES)
        noise = self.received(world, 1000, plan.spokes, 0.0)
        # The same shots with their pulses have the same noise.
        signal = self.received(world, 1000, plan.spokes, plan.flip_angle * (1 + flip_error)) - noise
        noisy = self.image(windows, signal + noise / np.sqrt(AVERAGES))
        return self.quantify(noisy), self.quantify(self.image(windows, signal), draws=100)


def drawn_phantom(file: BenchFile, random: np.random.Generator) -> Phantom:
    """Return the phantom as it may really be, given what the bench file says of it."""
    errors = {
        name: (
            1 + stated.t1_tolerance * random.standard_normal(),
            1 + stated.t2_tolerance * random.standard_normal(),
        )
        for name, stated in file.phantom.materials.items()
    }

    def relaxed(inside: Compartment, material: str) -> Compartment:
        t1, t2 = errors[material]
        return replace(inside, t1=inside.t1 * t1, t2_short=inside.t2_short * t2, t2_long=inside.t2_long * t2)

    vials = []
    for vial, stated in zip(DEFAULT_PHANTOM.vials, file.phantom.vials, strict=True):
        assert vial.name == stated.name
        amount = vial.concentration_mmol_l * (1 + stated.preparation_tolerance * random.standard_normal())
        if vial.role == "check":
            amount = random.uniform(30.0, 120.0)
        vials.append(replace(relaxed(vial, stated.material), concentration_mmol_l=amount))
    background = relaxed(DEFAULT_PHANTOM.background, file.phantom.background)
    return replace(DEFAULT_PHANTOM, background=background, vials=tuple(vials))


@dataclass(frozen=True)
class Campaign:
    """All seeds: truth and results, every array (seed, vial)."""

    truth: NDArray[np.float64]
    estimate: NDArray[np.float64]
    without_noise: NDArray[np.float64]
    uncertainty: NDArray[np.float64]
    noise: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Rig:
    path: Path = tmp_path_factory.mktemp("bench") / "bench.toml"
    path.write_text(bench_file_text(DEFAULT_ADDRESSES), encoding="utf-8")
    return Rig(read_bench_file(path))


@pytest.fixture(scope="module")
def campaign(rig: Rig) -> Campaign:
    flip_uncertainty = Protocol(1.0, 1.0).flip_angle_uncertainty

    def row(seed: int) -> list[tuple[float, ...]]:
        random = np.random.default_rng([seed, 77])
        phantom = drawn_phantom(rig.file, random)
        world = World.tuned(seed, WorldSettings(phantom=phantom))
        noisy, clean = rig.scan(world, flip_uncertainty * random.standard_normal())
        return [
            (
                inside.concentration_mmol_l,
                vial.concentration,
                plain.concentration,
                vial.uncertainty,
                dict(vial.contributions)["noise"],
                *vial.interval,
            )
            for inside, vial, plain in zip(phantom.vials, noisy.vials, clean.vials, strict=True)
        ]

    # numpy and finufft let go of the interpreter: two seeds at a time.
    with ThreadPoolExecutor(2) as pool:
        rows = list(pool.map(row, range(SEEDS)))
    return Campaign(*np.moveaxis(np.array(rows), -1, 0))


def bounds(freedom: float, chance: float = CHANCE) -> tuple[float, float]:
    """Return where the mean of so many squared standard normal numbers lies, but for ``chance``."""
    low, high = chi2.ppf((chance / 2, 1 - chance / 2), freedom) / freedom
    return float(low), float(high)


def test_truth_lies_in_the_stated_interval_at_the_stated_rate(campaign: Campaign) -> None:
    """95 % of the unknown vials' intervals: as many of 60 as a fair count may give."""
    inside = (campaign.low <= campaign.truth) & (campaign.truth <= campaign.high)
    count, total = int(np.count_nonzero(inside[:, CHECKS])), inside[:, CHECKS].size
    fewest = int(binom.ppf(CHANCE / 2, total, 0.95))
    assert count >= fewest, f"{count} of {total}, at least {fewest}"
    # An interval of half the width would hold 67 %: the count tells them apart.
    assert binom.cdf(fewest, total, 0.67) > 1 - 0.02


def test_errors_are_as_large_as_stated_not_smaller(campaign: Campaign) -> None:
    """Error over standard uncertainty has unit mean square: intervals are not too wide either.

    Vials of one phantom share its references: 2/3 of the degrees of freedom are what is left for
    correlations up to 0.5, which the errors do not exceed.
    """
    pull = ((campaign.estimate - campaign.truth) / campaign.uncertainty)[:, CHECKS]
    shared = np.corrcoef(pull.T) - np.eye(len(CHECKS))
    assert np.abs(shared).max() < 0.5 + 3 / np.sqrt(SEEDS)
    low, high = bounds(2 / 3 * pull.size)
    assert low < np.mean(pull**2) < high, np.sqrt(np.mean(pull**2, axis=0))
    assert high < 2.0 < 1 / low**2, "an uncertainty wrong by the root of two would not be seen"


def test_stated_interval_is_the_stated_uncertainty(campaign: Campaign) -> None:
    """Monte Carlo and linear propagation agree: 2000 draws place the ends to 3 %; 12 % is four times that."""
    half = 0.5 * (campaign.high - campaign.low)
    np.testing.assert_allclose(half[:, CHECKS], 1.96 * campaign.uncertainty[:, CHECKS], rtol=0.12)


def test_noise_moves_estimates_by_the_stated_noise_part(campaign: Campaign) -> None:
    """Against the same scan without noise, every vial for itself and the unknown ones together."""
    pull = (campaign.estimate - campaign.without_noise) / campaign.noise
    square = np.mean(pull**2, axis=0)
    low, high = bounds(SEEDS, CHANCE / pull.shape[1])
    assert np.all((low < square) & (square < high)), np.sqrt(square)
    low, high = bounds(2 / 3 * pull[:, CHECKS].size)
    assert low < np.mean(pull[:, CHECKS] ** 2) < high, np.sqrt(square)
    assert np.all(np.abs(pull.mean(axis=0)) < 4 / np.sqrt(SEEDS)), "noise biases the estimate"


def test_systematic_parts_matter_in_this_campaign(campaign: Campaign) -> None:
    """Without them the uncertainties would be visibly too small: the errors are really exercised."""
    own = ((campaign.estimate - campaign.truth) / campaign.noise)[:, CHECKS]
    noise = ((campaign.estimate - campaign.without_noise) / campaign.noise)[:, CHECKS]
    assert np.mean(own**2) > np.mean(noise**2)
    gels = CHECKS[1:]
    assert np.all(np.median(campaign.noise / campaign.uncertainty, axis=0)[gels] < 0.95)


@pytest.mark.parametrize("even", [True, False], ids=["weighted by solid angle", "all spokes alike"])
def test_without_noise_only_the_methods_own_error_is_left(rig: Rig, *, even: bool) -> None:
    """The phantom as stated: saline within 1 %, gel and bath within 2 %; uneven spokes may add 1 %."""
    plan, world = rig.plan, World.tuned(0)
    windows = rig.received(world, 0, plan.noise_windows, 0.0)
    noise = rig.received(world, 1000, plan.spokes, 0.0)
    signal = rig.received(world, 1000, plan.spokes, plan.flip_angle) - noise
    angles = solid_angles(plan.directions) if even else None
    clean = rig.quantify(rig.image(windows, signal, angles), draws=100)
    streaks = 0.0 if even else 0.01
    for vial, inside in zip(clean.vials, DEFAULT_PHANTOM.vials, strict=True):
        if inside.role == "check":
            limit = (0.02 if inside.short_fraction else 0.01) + streaks
            assert vial.concentration == pytest.approx(inside.concentration_mmol_l, rel=limit), vial.name
    assert clean.background == pytest.approx(DEFAULT_PHANTOM.background.concentration_mmol_l, rel=0.02)
