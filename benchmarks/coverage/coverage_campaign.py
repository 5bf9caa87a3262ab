"""Do the 95 % intervals of concentrations contain the truth? A campaign over simulated phantom scans.

python benchmarks/coverage/coverage_campaign.py --seeds 1000            table
python benchmarks/coverage/coverage_campaign.py --seeds 1000 --json     one JSON object

Every seed is another scan (``drawn_scan``) through registration, reconstruction and quantification as users
run them. The description of the phantom never changes: what the scan really was is what the drawing says,
within the tolerances that the description states. Every fourth seed is scanned again with vials so large that
their cores are free of partial volume, and read with and without its correction.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))  # the drawn scan lives beside this file, not in a package

from coverage_summary import error_sources, lines, summarise
from drawn_scan import Design, draw_scan

from recon.blur import spill_matrix
from recon.dataset import Dataset
from recon.density import solid_angles
from recon.grid import Grid
from recon.live import reconstruct
from recon.phantom import Material, Phantom, Tolerance, Vial
from recon.psf import RadialReadout
from recon.regions import core_weights
from recon.relaxation import Relaxation
from recon.tsc import Protocol, quantify
from recon.tsc.registration import register

if TYPE_CHECKING:
    from recon.tsc.quantification import PartialVolume


def described(design: Design) -> Phantom:
    """Return what the user knows of the phantom."""
    spread = design.spread
    materials: dict[tuple[float, float], Material] = {}
    vials = []
    for inside in design.contents:
        key = (inside.t1, inside.t2_long)
        if key not in materials:
            decay: tuple[tuple[float, float], ...] = ((1.0, inside.t2_long),)
            if inside.short_fraction:
                decay = (
                    (inside.short_fraction, inside.t2_short),
                    (1 - inside.short_fraction, inside.t2_long),
                )
            materials[key] = Material(
                f"material {len(materials)}",
                Relaxation(inside.t1, decay),
                Tolerance(spread.t1),
                Tolerance(spread.t2_star),
            )
        if inside.role != "background":
            stated = inside.concentration_mmol_l if inside.role == "reference" else None
            vials.append(
                Vial(
                    inside.name,
                    inside.position_m,
                    inside.radius_m,
                    materials[key],
                    stated,
                    Tolerance(spread.preparation),
                    spread.seat,
                )
            )
    bath = design.contents[0]
    return Phantom(bath.position_m, bath.radius_m, materials[bath.t1, bath.t2_long], tuple(vials))


@lru_cache(maxsize=4)
def _shared(design: Design) -> tuple[Phantom, RadialReadout, Protocol, np.ndarray]:
    phantom = described(design)
    readout = RadialReadout(design.times, design.radii, "hamming", 0.5 * design.matrix / design.fov)
    spread = design.spread
    protocol = Protocol(
        design.repetition_time,
        design.flip_angle,
        spread.flip,
        spread.flip_own,
        frequency_uncertainty=spread.frequency,
        frequency_spread=spread.frequency_own,
        delay_uncertainty=spread.delay,
    )
    return phantom, readout, protocol, solid_angles(design.directions)


def own_recovery(design: Design) -> dict[str, float]:
    """Return what each vial's core reads of its own ball: 1 without partial volume."""
    phantom, readout, _, _ = _shared(design)
    grid = Grid.cube(design.matrix, design.fov)
    cores = np.stack([core_weights(grid, vial) for vial in phantom.vials])
    spill = spill_matrix(phantom, readout, grid, cores)
    own = np.diagonal(spill.vials)
    return {vial.name: float(value) for vial, value in zip(phantom.vials, own, strict=True)}


def trial(
    design: Design,
    seed: int,
    *,
    noise: bool = True,
    ways: tuple[PartialVolume, ...] = ("corrected",),
) -> list[dict[str, Any]]:
    """Return one row per unknown vial of one scan and way to treat partial volume: truth, estimate, parts."""
    phantom, readout, protocol, angles = _shared(design)
    scan = draw_scan(design, seed, noise=noise)
    dataset = Dataset(
        f"seed {seed}",
        scan.samples,
        design.trajectory,
        Grid.cube(design.matrix, design.fov),
        design.dwell_time,
        noise=scan.noise,
        noise_dwell_time=design.dwell_time,
    )
    images = reconstruct(dataset, angles=angles, passband=1.0)
    found = register(images, phantom, readout)
    lying = phantom.moved(found.pose)
    rows = []
    for way in ways:
        result = quantify(
            images,
            phantom,
            readout,
            protocol,
            pose=found.pose,
            position_uncertainty=found.position_uncertainty,
            partial_volume=way,
            seed=seed,
        )
        for index, vial in enumerate(result.vials):
            if vial.reference is not None and vial.rejected is None:
                continue
            rows.append(
                {
                    "seed": seed,
                    "partial_volume": way,
                    "vial": vial.name,
                    "truth": float(scan.concentrations[index]),
                    "estimate": vial.concentration,
                    "uncertainty": vial.uncertainty,
                    "monte_carlo": vial.monte_carlo_uncertainty,
                    "low": vial.interval[0],
                    "high": vial.interval[1],
                    "linear_confirmed": vial.is_linear_valid,
                    "rejected": vial.rejected is not None,
                    "misplaced": float(np.linalg.norm(lying.vials[index].centre - scan.places[index])),
                    "unevenness": result.unevenness,
                    "parts": dict(vial.contributions),
                }
            )
    return rows


def _one(arguments: tuple[str, int, bool]) -> list[dict[str, Any]]:
    vials, seed, noise = arguments
    if vials == "large":
        rows = trial(Design.large(), seed, noise=noise, ways=("corrected", "avoided"))
    else:
        rows = trial(Design(), seed, noise=noise)
    return [{**row, "vials": vials} for row in rows]


def run(chosen: argparse.Namespace) -> list[dict[str, Any]]:
    """Return the rows of all scans, telling the progress on standard error."""
    work = []
    for seed in range(chosen.first, chosen.first + chosen.seeds):
        work.append(("small", seed, not chosen.without_noise))
        if chosen.large_every and seed % chosen.large_every == 0:
            work.append(("large", seed, not chosen.without_noise))
    rows: list[dict[str, Any]] = []
    start = time.perf_counter()
    with ProcessPoolExecutor(chosen.processes) as pool:
        for done, found in enumerate(pool.map(_one, work, chunksize=2), start=1):
            rows.extend(found)
            if done % 50 == 0 or done == len(work):
                spent = time.perf_counter() - start
                left = spent / done * (len(work) - done)
                print(f"{done} of {len(work)} scans, {spent:.0f} s, {left:.0f} s left", file=sys.stderr)
    return rows


def main() -> int:
    """Run the campaign and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--large-every", type=int, default=4, help="0: no scans of large vials")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--without-noise", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rows", type=Path, help="write every row there")
    chosen = parser.parse_args()
    start = time.perf_counter()
    rows = run(chosen)
    spent = time.perf_counter() - start
    if chosen.rows:
        chosen.rows.write_text(json.dumps(rows), encoding="utf-8")
    sources = error_sources(Design())
    summary = {"seconds": spent, "error sources": sources, **summarise(rows)}
    if chosen.json:
        print(json.dumps(summary))
        return 0
    print("Drawn in every scan (standard deviations):")
    print("\n".join(f"  {source}" for source in sources))
    print("\n".join(lines(summary)))
    print(f"{spent:.0f} s for seeds {chosen.first} to {chosen.first + chosen.seeds - 1}.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
