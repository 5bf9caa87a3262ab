"""How time and memory of a reconstruction grow with matrix and channels.

python benchmarks/recon_growth.py                     all sizes, a table (10 minutes on two idle cores)
python benchmarks/recon_growth.py --plot FILE.svg     and a plot
python benchmarks/recon_growth.py --json              one JSON object a size
python benchmarks/recon_growth.py --read FILE --plot FILE.svg     plot what --json printed before
python benchmarks/recon_growth.py --matrices 32,64 --channels 4,8

Every size runs in a process of its own, so that its peak memory is its own. Spokes grow as the square of the
matrix, as even sampling asks for, samples as the matrix: 64 has 10 000 spokes of 256 samples.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

sys.path[:0] = [str(Path(__file__).parent / "reconstruction"), str(Path(__file__).parents[1])]

import numpy as np  # noqa: E402 - found through the path above
from scan import density_adapted_radii, golden_directions  # noqa: E402

#: Sizes shown unless others are asked for.
_MATRICES: Final = (32, 64, 96)
_CHANNELS: Final = (4, 8, 16, 32)
#: Spokes for each squared voxel along an axis, samples of a spoke for each voxel, batches that are timed.
_SPOKES: Final = 10_000 / 64**2
_SAMPLES: Final = 4
_BATCHES: Final = 6
#: Conjugate gradient steps.
_ITERATIONS: Final = 10
#: What is shown: key, title, and whether it is a time.
_QUANTITIES: Final = (
    ("scan", "live: gridding, whole scan (s)"),
    ("image", "live: last spoke to image (s)"),
    ("live_memory", "live: peak memory (MB)"),
    ("cg", "CG-SENSE, 10 iterations (s)"),
    ("cg_memory", "CG-SENSE: peak memory (MB)"),
)


def peak_memory() -> float:
    """Return the largest memory this process held so far, in MB; NaN where the system hides it."""
    status = Path("/proc/self/status")
    if not status.exists():
        return float("nan")
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def measure_live(matrix: int, channels: int) -> dict[str, float]:
    """Return times of live gridding, from the fastest batch, and the memory above that of the imports."""
    from recon.combine import combine_squares
    from recon.dataset import Readout
    from recon.grid import Grid
    from recon.live import LiveReconstruction
    from recon.noise import noise_model

    base = peak_memory()
    grid = Grid.cube(matrix, 0.32)
    spokes, samples = round(_SPOKES * matrix**2), _SAMPLES * matrix
    rng = np.random.default_rng(1)
    noise = rng.standard_normal((2, channels, 100 * channels))
    live = LiveReconstruction(grid, noise=noise_model(noise[0] + 1j * noise[1], 1e-5))
    radii = density_adapted_radii(samples, 0.999 * grid.nyquist)
    spoke = np.ones((channels, samples), dtype=np.complex64)
    batch = matrix**3 // 8 // samples
    times: dict[str, list[float]] = {"scan": [], "image": []}
    directions = golden_directions((_BATCHES + 1) * batch)
    for number, direction in enumerate(directions):
        if number % batch == 0:
            start = time.perf_counter()
        if number % batch == batch - 1:
            last = time.perf_counter()
        live.feed_readout(Readout(spoke, radii[:, None] * direction, 1e-5, is_noise=False, number=number))
        if number % batch == batch - 1:
            times["scan"].append((time.perf_counter() - start) * spokes / batch)
            found = live.snapshot()
            combine_squares(found.images, found.noise_gain)
            times["image"].append(time.perf_counter() - last)
    return {name: min(values) for name, values in times.items()} | {"live_memory": peak_memory() - base}


def measure_cg(matrix: int, channels: int) -> dict[str, float]:
    """Return time and memory of one CG-SENSE reconstruction with its right side, samples included."""
    from scan import loop_fields

    from recon.cg_sense import cg_sense
    from recon.density import spoke_weights
    from recon.grid import Grid
    from recon.nufft import NonUniformTransform

    base = peak_memory()
    grid = Grid.cube(matrix, 0.32)
    spokes, samples = round(_SPOKES * matrix**2), _SAMPLES * matrix
    radii = density_adapted_radii(samples, 0.999 * grid.nyquist)
    positions = (golden_directions(spokes)[:, None] * radii[:, None]).astype(np.float32)
    weights = np.broadcast_to(spoke_weights(radii) / spokes, (spokes, samples)).astype(np.float32)
    data = np.ones((channels, spokes, samples), dtype=np.complex64)
    fields = loop_fields(grid, channels)
    start = time.perf_counter()
    cg_sense(data, NonUniformTransform(grid, positions), weights, fields, iterations=_ITERATIONS)
    return {"cg": time.perf_counter() - start, "cg_memory": peak_memory() - base}


def measured(matrix: int, channels: int) -> dict[str, float]:
    """Run both measurements of one size, each in its own process."""
    result: dict[str, float] = {"matrix": matrix, "channels": channels}
    for part in ("live", "cg"):
        call = [sys.executable, __file__, "--one", part, str(matrix), str(channels)]
        answer = subprocess.run(call, check=True, capture_output=True, text=True).stdout
        result |= json.loads(answer)
    return result


def plot(rows: list[dict[str, float]], path: Path) -> None:
    """Draw every quantity against the number of channels, one line for each matrix, both axes logarithmic."""
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = "coilbench"
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(_QUANTITIES), figsize=(17, 3.6), layout="constrained")
    for axis, (key, title) in zip(axes, _QUANTITIES, strict=True):
        for matrix in sorted({row["matrix"] for row in rows}):
            line = sorted((row["channels"], row[key]) for row in rows if row["matrix"] == matrix)
            axis.loglog(*zip(*line, strict=True), "o-", label=f"{matrix:.0f}³")
            first = line[0]
            axis.loglog(
                *zip(*[(c, first[1] * c / first[0]) for c, _ in line], strict=True), "k:", linewidth=0.7
            )
        channels = sorted({row["channels"] for row in rows})
        axis.set_xticks(channels, [f"{count:.0f}" for count in channels], minor=False)
        axis.minorticks_off()
        axis.set(title=title, xlabel="channels")
        axis.grid(visible=True, alpha=0.3)
    axes[0].legend()
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def main() -> int:
    """Measure what was asked for and print it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--matrices", default=",".join(map(str, _MATRICES)))
    parser.add_argument("--channels", default=",".join(map(str, _CHANNELS)))
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--read", type=Path)
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        part, matrix, channels = arguments.one
        print(json.dumps({"live": measure_live, "cg": measure_cg}[part](int(matrix), int(channels))))
        return 0
    if arguments.read:
        rows = [json.loads(line) for line in arguments.read.read_text(encoding="utf-8").splitlines()]
        plot(rows, arguments.plot)
        return 0
    rows = []
    for matrix in map(int, arguments.matrices.split(",")):
        for channels in map(int, arguments.channels.split(",")):
            row = measured(matrix, channels)
            rows.append(row)
            line = "  ".join(f"{key} {row[key]:.3g}" for key, _ in _QUANTITIES)
            print(json.dumps(row) if arguments.json else f"{matrix}³ x {channels}: {line}", flush=True)
    if arguments.plot:
        plot(rows, arguments.plot)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
