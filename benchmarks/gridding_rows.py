"""Rows of the benchmark table about live gridding, density weights and sensitivities: 64³ in all of them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import numpy as np
from table import Row, seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

sys.path.insert(0, str(Path(__file__).parent / "reconstruction"))

#: Inverse transforms within which the image has to be there.
_LIMIT: Final = 1.5
#: Steps of the fixed point, both sides.
_STEPS: Final = 10
#: Side of ecalib's calibration region and of its kernels: smaller ones than its defaults, 24 and 6.
_CALIBRATION, _KERNEL = 16, 5


def live(channels: int) -> Row:
    """From the last spoke to the combined image, beside the inverse transforms of all channels.

    The scan's last spoke completes a batch, the worst case; the row's time is that with sensitivities
    computed from the images then, the longest of three combinations. The limit is 1.5 times scipy's inverse
    FFT of all channels on the twice finer grid, 128³ cells, that transforms of whole scans use, 2 threads;
    both run in turn, so load hits both, and the best times count.
    """
    import scipy.fft
    from scan import SAMPLES, SPOKES, density_adapted_radii, golden_directions

    from recon.combine import combine_squares, snr_units
    from recon.dataset import Readout
    from recon.grid import Grid
    from recon.live import LiveReconstruction
    from recon.noise import noise_model
    from recon.sensitivities import low_resolution_sensitivities

    grid = Grid.cube(64, 0.32)
    rng = np.random.default_rng(5)
    noise = rng.standard_normal((2, channels, 100 * channels))
    reconstruction = LiveReconstruction(grid, noise=noise_model(noise[0] + 1j * noise[1], 1e-5))
    directions = golden_directions(SPOKES + 2048)
    radii = density_adapted_radii(SAMPLES, 0.999 * grid.nyquist)
    parts = rng.standard_normal((2, channels, SAMPLES))
    samples = (parts[0] + 1j * parts[1]).astype(np.complex64)

    def feed(count: int) -> None:
        for number in range(reconstruction.spokes, reconstruction.spokes + count):
            positions = radii[:, None] * directions[number]
            reconstruction.feed_readout(Readout(samples, positions, 1e-5, is_noise=False, number=number))

    batch = grid.shape[0] ** 3 // 8 // SAMPLES
    start = time.perf_counter()
    feed(SPOKES // batch * batch)
    per_spoke = (time.perf_counter() - start) / reconstruction.spokes
    cells = np.zeros((channels, *[2 * count for count in grid.shape]), dtype=np.complex64)
    known = low_resolution_sensitivities(reconstruction.snapshot().images)
    combinations = {
        "maps computed then": lambda found: snr_units(
            found.images, low_resolution_sensitivities(found.images), found.noise_gain
        ),
        "known maps": lambda found: snr_units(found.images, known, found.noise_gain),
        "root of squares": lambda found: combine_squares(found.images, found.noise_gain),
    }
    times: dict[str, list[float]] = {name: [] for name in ("transforms", *combinations)}
    for _ in range(12):
        start = time.perf_counter()
        for channel in cells:
            scipy.fft.ifftn(channel, overwrite_x=True, workers=2)
        times["transforms"].append(time.perf_counter() - start)
        feed(batch - 1)
        start = time.perf_counter()
        feed(1)
        found = reconstruction.snapshot()
        gridded = time.perf_counter() - start
        for name, combine in combinations.items():
            start = time.perf_counter()
            combine(found)
            times[name].append(gridded + time.perf_counter() - start)
    best = {name: min(values) for name, values in times.items()}
    transforms, longest = best["transforms"], best["maps computed then"]
    figures = ", ".join(f"{best[name] / transforms:.2f} with {name}" for name in combinations)
    size = (
        f"{channels} channels, {SPOKES} spokes x {SAMPLES}; transforms: {figures}; "
        f"{per_spoke * 1e3:.2f} ms a spoke before; load {os.getloadavg()[0]:.1f}"
    )
    limit = _LIMIT * transforms
    peer = f"limit: {_LIMIT} x scipy.fft.ifftn of {channels} x 128³"
    command = f"python bench.py bench live-{channels}"
    return Row(f"live-{channels}", longest, limit, "s", limit / longest, size, peer, command)


def density() -> Row:
    """Ten steps of Pipe and Menon's fixed point: ours beside sigpy, which runs once (minutes)."""
    from scan import SAMPLES, SPOKES, density_adapted_radii, golden_directions
    from sigpy.mri import pipe_menon_dcf

    from recon.density import iterate_weights, solid_angles, spoke_weights
    from recon.grid import Grid

    grid = Grid.cube(64, 0.32)
    radii = density_adapted_radii(SAMPLES, 0.999 * grid.nyquist)
    directions = golden_directions(SPOKES)
    positions = directions[:, None] * radii[:, None]
    coordinates = positions.reshape(-1, 3) * grid.field_of_view[0]
    exact = spoke_weights(radii) / SPOKES * solid_angles(directions)[:, None]
    inside = (radii > 0.05 * grid.nyquist) & (radii < 0.75 * grid.nyquist)

    def scatter(weights: np.ndarray) -> float:
        ratio = weights.reshape(exact.shape)[:, inside] / exact[:, inside]
        return float(ratio.std() / ratio.mean())

    def theirs(points: int) -> np.ndarray:
        return pipe_menon_dcf(coordinates[:points], img_shape=grid.shape, max_iter=_STEPS, show_pbar=False)

    theirs(10 * SAMPLES)  # compiles
    start = time.perf_counter()
    peer = theirs(len(coordinates))
    elapsed = time.perf_counter() - start
    ours = seconds(lambda: iterate_weights(grid, positions, iterations=_STEPS), 3)
    mine = iterate_weights(grid, positions, iterations=_STEPS)
    size = (
        f"{SPOKES} x {SAMPLES} points, {_STEPS} steps; scatter about the exact weights {scatter(mine):.1%}, "
        f"{scatter(peer):.1%}; load {os.getloadavg()[0]:.1f}"
    )
    return Row(
        "density",
        ours,
        elapsed,
        "s",
        elapsed / ours,
        size,
        "sigpy pipe_menon_dcf",
        "python bench.py bench density",
    )


def sensitivities(channels: int) -> Row:
    """Low-resolution maps beside BART's ecalib (files and process included; runs once).

    The size tells each one's mean correlation with the true maps inside the object, also that of Walsh's
    maps and of our ESPIRiT.
    """
    from scan import loop_fields, phantom

    from recon.grid import Grid
    from recon.sensitivities import (
        espirit_sensitivities,
        low_resolution_sensitivities,
        walsh_sensitivities,
    )

    program = shutil.which("bart")
    if program is None:
        raise SystemExit("the benchmark of sensitivities needs BART: apt install bart")
    grid = Grid.cube(64, 0.32)
    truth, inside = loop_fields(grid, channels), np.abs(phantom(grid)) > 0
    rng = np.random.default_rng(6)
    noise = rng.standard_normal((2, *truth.shape), dtype=np.float32)
    images = truth * phantom(grid) + np.complex64(1e-3) * (noise[0] + 1j * noise[1])

    def correlation(maps: np.ndarray) -> float:
        product = np.abs(np.sum(maps.conj() * truth, axis=0))[inside]
        norms = [np.linalg.norm(field[:, inside], axis=0) for field in (maps, truth)]
        return float(np.mean(product / (norms[0] * norms[1])))

    ways = {
        "low": low_resolution_sensitivities,
        "Walsh": walsh_sensitivities,
        "ESPIRiT": espirit_sensitivities,
    }
    ours = {
        name: (seconds(partial(way, images), 1 if name == "ESPIRiT" else 3), correlation(way(images)))
        for name, way in ways.items()
    }
    with tempfile.TemporaryDirectory() as folder:
        peer = _ecalib(program, Path(folder), images)
    theirs = correlation(peer[1])
    figures = ", ".join(f"{name} {took * 1e3:.0f} ms r {found:.4f}" for name, (took, found) in ours.items())
    return Row(
        f"sensitivities-{channels}",
        ours["low"][0],
        peer[0],
        "s",
        peer[0] / ours["low"][0],
        f"{channels} channels; {figures}, BART r {theirs:.4f}; load {os.getloadavg()[0]:.1f}",
        f"BART ecalib -m1 -r{_CALIBRATION} -k{_KERNEL}",
        f"python bench.py bench sensitivities-{channels}",
    )


def _ecalib(program: str, folder: Path, images: np.ndarray) -> tuple[float, np.ndarray]:
    """Return how long ecalib takes and its maps, shape (channel, z, y, x)."""
    centred = np.fft.ifftshift(images, axes=(1, 2, 3))
    kspace = np.fft.fftshift(np.fft.fftn(centred, axes=(1, 2, 3)), axes=(1, 2, 3)).astype(np.complex64)
    # BART's files have x first and fastest, the channels last: our order, read backwards.
    dimensions = " ".join(map(str, [*kspace.shape[::-1], *[1] * 12]))
    (folder / "kspace.hdr").write_text(f"# Dimensions\n{dimensions}\n", encoding="ascii")
    kspace.tofile(folder / "kspace.cfl")
    call = [program, "ecalib", "-m1", "-c0", f"-r{_CALIBRATION}", f"-k{_KERNEL}", "kspace", "maps"]
    start = time.perf_counter()
    subprocess.run(
        call, cwd=folder, check=True, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "2"}
    )
    return time.perf_counter() - start, np.fromfile(folder / "maps.cfl", np.complex64).reshape(images.shape)


#: ``density`` and ``sensitivities-32`` take minutes, for the peer's sake.
ROWS: Final[Mapping[str, Callable[[], Row]]] = MappingProxyType(
    {
        **{f"live-{channels}": partial(live, channels) for channels in (8, 32)},
        "density": density,
        **{f"sensitivities-{channels}": partial(sensitivities, channels) for channels in (8, 32)},
    }
)
