"""Do the 95 % intervals of concentrations contain the truth? A campaign over simulated phantom scans.

python benchmarks/coverage/coverage_campaign.py --seeds 1000            table
python benchmarks/coverage/coverage_campaign.py --seeds 1000 --json     one JSON object

Every seed is another scan (``drawn_scan``) through registration, reconstruction and quantification as users
run them. The description of the phantom never changes: what the scan really was is what the drawing says,
within the tolerances that the description states.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import beta

sys.path.insert(0, str(Path(__file__).parent))  # the drawn scan lives beside this file, not in a package

from drawn_scan import COMPARTMENTS, Design, draw_scan

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


def described(design: Design) -> Phantom:
    """Return what the user knows of the phantom."""
    spread = design.spread
    materials: dict[tuple[float, float], Material] = {}
    vials = []
    for inside in COMPARTMENTS:
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
    bath = COMPARTMENTS[0]
    return Phantom(bath.position_m, bath.radius_m, materials[bath.t1, bath.t2_long], tuple(vials))


@lru_cache(maxsize=4)
def _shared(design: Design) -> tuple[Phantom, RadialReadout, Protocol, np.ndarray]:
    phantom = described(design)
    readout = RadialReadout(design.times, design.radii, "hamming", 0.5 * design.matrix / design.fov)
    protocol = Protocol(design.repetition_time, design.flip_angle, design.spread.flip, design.spread.flip_own)
    return phantom, readout, protocol, solid_angles(design.directions)


def own_recovery(design: Design) -> dict[str, float]:
    """Return what each vial's core reads of its own ball: 1 without partial volume."""
    phantom, readout, _, _ = _shared(design)
    grid = Grid.cube(design.matrix, design.fov)
    cores = np.stack([core_weights(grid, vial) for vial in phantom.vials])
    spill = spill_matrix(phantom, readout, grid, cores)
    own = np.diagonal(spill.vials)
    return {vial.name: float(value) for vial, value in zip(phantom.vials, own, strict=True)}


def trial(design: Design, seed: int, *, noise: bool = True) -> list[dict[str, Any]]:
    """Return one row per unknown vial of one scan: truth, estimate, interval, parts."""
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
    result = quantify(
        images,
        phantom,
        readout,
        protocol,
        pose=found.pose,
        position_uncertainty=found.position_uncertainty,
        seed=seed,
    )
    lying = phantom.moved(found.pose)
    rows = []
    for index, vial in enumerate(result.vials):
        if vial.reference is not None and vial.rejected is None:
            continue
        rows.append(
            {
                "seed": seed,
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


def summarise(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return coverage and bias, per vial and over all unknown vials."""
    unknown = [row for row in rows if not row["rejected"]]
    summary: dict[str, Any] = {
        "scans": len({row["seed"] for row in rows}),
        "references rejected": sum(row["rejected"] for row in rows),
        "all": _judge(unknown),
    }
    for name in sorted({row["vial"] for row in unknown}):
        summary[name] = _judge([row for row in unknown if row["vial"] == name])
    return summary


def _judge(rows: list[dict[str, Any]]) -> dict[str, float]:
    truth, estimate, low, high, stated = (
        np.array([row[key] for row in rows]) for key in ("truth", "estimate", "low", "high", "uncertainty")
    )
    inside = int(np.count_nonzero((low <= truth) & (truth <= high)))
    linear = np.abs(estimate - truth) <= 1.96 * stated
    count = len(rows)
    relative = estimate / truth - 1
    return {
        "intervals": count,
        "coverage": inside / count,
        "coverage_low": float(beta.ppf(0.025, inside, count - inside + 1)),
        "coverage_high": float(beta.ppf(0.975, inside + 1, count - inside)) if inside < count else 1.0,
        "coverage_linear": float(np.mean(linear)),
        "bias": float(relative.mean()),
        "bias_uncertainty": float(relative.std(ddof=1) / np.sqrt(count)) if count > 1 else float("nan"),
        "pull": float(np.sqrt(np.mean(((estimate - truth) / stated) ** 2))),
        "relative_uncertainty": float(np.median(stated / truth)),
        "linear_confirmed": float(np.mean([row["linear_confirmed"] for row in rows])),
    }


def _one(arguments: tuple[Design, int, bool]) -> list[dict[str, Any]]:
    design, seed, noise = arguments
    return trial(design, seed, noise=noise)


def main() -> int:
    """Run the campaign and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--without-noise", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rows", type=Path, help="write every row there")
    chosen = parser.parse_args()
    design, start = Design(), time.perf_counter()
    work = [(design, chosen.first + seed, not chosen.without_noise) for seed in range(chosen.seeds)]
    with ProcessPoolExecutor(chosen.processes) as pool:
        rows = [row for one in pool.map(_one, work, chunksize=4) for row in one]
    summary = summarise(rows)
    summary["seconds per scan"] = (time.perf_counter() - start) / chosen.seeds
    if chosen.rows:
        chosen.rows.write_text(json.dumps(rows), encoding="utf-8")
    if chosen.json:
        print(json.dumps(summary))
        return 0
    for name, value in summary.items():
        if not isinstance(value, dict):
            print(f"{name}: {value:.4g}")
            continue
        print(
            f"{name:12s} coverage {100 * value['coverage']:.1f} % "
            f"({100 * value['coverage_low']:.1f}-{100 * value['coverage_high']:.1f}, {value['intervals']} "
            f"intervals), bias {100 * value['bias']:+.2f} ± {100 * value['bias_uncertainty']:.2f} %, "
            f"pull {value['pull']:.2f}, u {100 * value['relative_uncertainty']:.1f} %, "
            f"linear {100 * value['coverage_linear']:.1f} %"
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
