"""Ours and the peers behind one signature: prepare on a scan, return a function that runs once.

Gridding and forward: plans are made beforehand, samples come weighted. CG-SENSE: everything counts, from the
samples to the image. All are asked for 1e-3; BART and sigpy run with their defaults (measured 1e-3 to 3e-3).
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scan import Scan, test_images

from recon.cg_sense import cg_sense, conjugate_gradient
from recon.compression import principal_channels
from recon.nufft import NonUniformTransform

if TYPE_CHECKING:
    from recon.nufft_backends import BackendName

#: Accuracy asked of all, and conjugate gradient steps.
ACCURACY, ITERATIONS, THREADS = 1e-3, 10, 2
#: Virtual channels that 8 or 32 loops are compressed to.
VIRTUAL = {8: 6, 32: 10}

Run = Callable[[], np.ndarray]
Program = Callable[[Scan, Path], Run]


def weighted(scan: Scan) -> np.ndarray:
    """Return weighted samples, shape (channel, point); takes the place of the scan's."""
    scan.samples[:] *= scan.weights
    return scan.samples.reshape(len(scan.samples), -1)


def transform(scan: Scan, backend: BackendName) -> NonUniformTransform:
    """Return our transform of the scan."""
    return NonUniformTransform(
        scan.grid, scan.positions, tolerance=ACCURACY, backend=backend, threads=THREADS
    )


def ours_adjoint(backend: BackendName) -> Program:
    """Our adjoint."""

    def prepare(scan: Scan, _: Path) -> Run:
        plan, data = transform(scan, backend), weighted(scan)
        return lambda: plan.adjoint(data)

    return prepare


def ours_forward(backend: BackendName) -> Program:
    """Our forward."""

    def prepare(scan: Scan, _: Path) -> Run:
        plan, images = transform(scan, backend), test_images(scan)
        return lambda: plan.forward(images)

    return prepare


def finufft_adjoint(scan: Scan, _: Path) -> Run:
    """Bare finufft, all channels in one plan."""
    data = weighted(scan)
    plan = finufft_plan(scan, 1)
    return lambda: plan.execute(data)


def finufft_forward(scan: Scan, _: Path) -> Run:
    """Bare finufft, all channels in one plan."""
    images = test_images(scan)
    plan = finufft_plan(scan, 2)
    return lambda: plan.execute(images)


def finufft_plan(scan: Scan, kind: int) -> Any:  # noqa: ANN401 - finufft has no types
    """Return a plan as finufft's documentation has it, of the upsampling that is accurate here."""
    import finufft

    plan = finufft.Plan(
        kind,
        scan.grid.shape,
        n_trans=len(scan.samples),
        eps=ACCURACY,
        isign=1 if kind == 1 else -1,
        dtype="complex64",
        upsampfac=2.0,
        nthreads=THREADS,
    )
    plan.setpts(*scan.phases)
    return plan


def ducc0_adjoint(scan: Scan, _: Path) -> Run:
    """Bare ducc0, all channels in one call."""
    data = weighted(scan)
    plan = ducc0_plan(scan, adjoint=True)
    return lambda: plan.nu2u(forward=False, points=data)


def ducc0_forward(scan: Scan, _: Path) -> Run:
    """Bare ducc0, all channels in one call."""
    images = test_images(scan)
    plan = ducc0_plan(scan, adjoint=False)
    return lambda: plan.u2nu(forward=True, grid=images)


def ducc0_plan(scan: Scan, *, adjoint: bool) -> Any:  # noqa: ANN401 - ducc0 has no types
    """Return a plan."""
    import ducc0

    return ducc0.nufft.plan(
        nu2u=adjoint,
        coord=np.stack(scan.phases, axis=1),
        grid_shape=scan.grid.shape,
        epsilon=ACCURACY,
        nthreads=THREADS,
    )


def mrinufft_operator(scan: Scan, sensitivities: np.ndarray | None = None) -> Any:  # noqa: ANN401 - untyped peer
    """Return mri-nufft's operator on finufft."""
    import mrinufft

    positions = np.stack(scan.phases, axis=1) / np.float32(2 * np.pi)
    return mrinufft.get_operator("finufft")(
        positions,
        scan.grid.shape,
        n_coils=len(scan.samples),
        smaps=sensitivities,
        squeeze_dims=True,
        eps=ACCURACY,
        nthreads=THREADS,
    )


def mrinufft_adjoint(scan: Scan, _: Path) -> Run:
    """mri-nufft on finufft."""
    operator, data = mrinufft_operator(scan), weighted(scan)
    return lambda: operator.adj_op(data)


def mrinufft_forward(scan: Scan, _: Path) -> Run:
    """mri-nufft on finufft."""
    operator, images = mrinufft_operator(scan), test_images(scan)
    return lambda: operator.op(images)


def sigpy_coordinates(scan: Scan) -> np.ndarray:
    """Return positions in cells of the grid."""
    shape = np.array(scan.grid.shape, dtype=np.float32)
    return np.stack(scan.phases, axis=1) / np.float32(2 * np.pi) * shape


def sigpy_adjoint(scan: Scan, _: Path) -> Run:
    """sigpy, its defaults."""
    import sigpy

    data, coordinates = weighted(scan), sigpy_coordinates(scan)
    return lambda: sigpy.nufft_adjoint(data, coordinates, oshape=(len(data), *scan.grid.shape))


def sigpy_forward(scan: Scan, _: Path) -> Run:
    """sigpy, its defaults."""
    import sigpy

    images, coordinates = test_images(scan), sigpy_coordinates(scan)
    return lambda: sigpy.nufft(images, coordinates)


def write_cfl(path: Path, array: np.ndarray) -> Path:
    """Write an array whose C order is BART's column-major order."""
    path.with_suffix(".hdr").write_text("# Dimensions\n" + " ".join(str(n) for n in array.shape[::-1]) + "\n")
    np.ascontiguousarray(array, dtype=np.complex64).tofile(path.with_suffix(".cfl"))
    return path


def read_cfl(path: Path) -> np.ndarray:
    """Return an array in C order."""
    sizes = [int(n) for n in path.with_suffix(".hdr").read_text().splitlines()[1].split()]
    array = np.fromfile(path.with_suffix(".cfl"), dtype=np.complex64)
    return array.reshape(sizes[::-1])


def bart(*words: str | Path) -> None:
    """Run BART without its messages: our own answer goes to standard output."""
    subprocess.run(["bart", *words], check=True, stdout=subprocess.DEVNULL)


def bart_files(scan: Scan, folder: Path) -> Path:
    """Write the trajectory in cells of 1 / field of view."""
    return write_cfl(folder / "bart_trajectory", scan.positions * scan.grid.field_of_view[0])


def bart_adjoint(scan: Scan, folder: Path) -> Run:
    """BART's nufft -a; its start and files count, as that is how it is used."""
    path = bart_files(scan, folder)
    data = write_cfl(folder / "bart_samples", weighted(scan).reshape(*scan.samples.shape, 1))
    size = ":".join(str(n) for n in scan.grid.shape[::-1])

    def run() -> np.ndarray:
        bart("nufft", "-a", "-d", size, path, data, folder / "bart_image")
        return read_cfl(folder / "bart_image").reshape(-1, *scan.grid.shape)

    return run


def bart_forward(scan: Scan, folder: Path) -> Run:
    """BART's nufft."""
    path = bart_files(scan, folder)
    images = write_cfl(folder / "bart_images", test_images(scan))

    def run() -> np.ndarray:
        bart("nufft", path, images, folder / "bart_forward")
        return read_cfl(folder / "bart_forward").reshape(len(scan.samples), -1)

    return run


def ours_cg(backend: BackendName, *, toeplitz: bool = True, compress: bool = False) -> Program:
    """Our CG-SENSE, all of it: plan, kernel, right side, iterations."""

    def prepare(scan: Scan, _: Path) -> Run:
        def run() -> np.ndarray:
            samples, maps = scan.samples, scan.sensitivities
            if compress:
                compression = principal_channels(samples, scan.weights, VIRTUAL[len(samples)])
                samples, maps = compression.apply(samples), compression.apply(maps)
            plan = transform(scan, backend)
            return cg_sense(samples, plan, scan.weights, maps, iterations=ITERATIONS, toeplitz=toeplitz).image

        return run

    return prepare


def intensity(scan: Scan) -> np.ndarray:
    """Return the root of the summed squares of the sensitivities."""
    return np.sqrt(np.sum(np.abs(scan.sensitivities) ** 2, axis=0))


def mrinufft_cg(scan: Scan, _: Path) -> Run:
    """mri-nufft's operators in our conjugate gradients: same weights, same intensity scaling."""

    def run() -> np.ndarray:
        scaling = 1 / intensity(scan)
        operator = mrinufft_operator(scan, scan.sensitivities)
        weights = scan.weights.ravel()

        def normal(image: np.ndarray) -> np.ndarray:
            samples = operator.op(image)
            samples *= weights
            return np.asarray(operator.adj_op(samples))

        flat = scan.samples.reshape(len(scan.samples), -1)
        right = operator.adj_op(flat * weights)
        return conjugate_gradient(normal, right, scaling=scaling, iterations=ITERATIONS).image

    return run


def bart_cg(scan: Scan, folder: Path) -> Run:
    """BART's pics, maps of unit sum of squares, which is the same scaling; files count."""
    path = bart_files(scan, folder)
    scale = intensity(scan)
    data = write_cfl(folder / "bart_samples", scan.samples.reshape(*scan.samples.shape, 1))
    maps = write_cfl(folder / "bart_maps", scan.sensitivities / scale)
    pattern = write_cfl(folder / "bart_pattern", np.sqrt(scan.weights)[None, ..., None])
    options = ["-l2", "-r0", f"-i{ITERATIONS}", "-t", path, "-p", pattern]

    def run() -> np.ndarray:
        bart("pics", *options, data, maps, folder / "bart_image")
        return read_cfl(folder / "bart_image").reshape(scan.grid.shape) / scale

    return run


PROGRAMS: dict[str, dict[str, Program]] = {
    "adjoint": {
        "ours-finufft": ours_adjoint("finufft"),
        "ours-numba": ours_adjoint("numba"),
        "ours-ducc0": ours_adjoint("ducc0"),
        "finufft": finufft_adjoint,
        "ducc0": ducc0_adjoint,
        "mri-nufft": mrinufft_adjoint,
        "sigpy": sigpy_adjoint,
        "BART": bart_adjoint,
    },
    "forward": {
        "ours-finufft": ours_forward("finufft"),
        "ours-numba": ours_forward("numba"),
        "ours-ducc0": ours_forward("ducc0"),
        "finufft": finufft_forward,
        "ducc0": ducc0_forward,
        "mri-nufft": mrinufft_forward,
        "sigpy": sigpy_forward,
        "BART": bart_forward,
    },
    "cg": {
        "ours-finufft": ours_cg("finufft"),
        "ours-numba": ours_cg("numba"),
        "ours-ducc0": ours_cg("ducc0"),
        "ours-finufft-compressed": ours_cg("finufft", compress=True),
        "ours-numba-compressed": ours_cg("numba", compress=True),
        "ours-ducc0-compressed": ours_cg("ducc0", compress=True),
        "finufft": ours_cg("finufft", toeplitz=False),
        "numba": ours_cg("numba", toeplitz=False),
        "ducc0": ours_cg("ducc0", toeplitz=False),
        "mri-nufft": mrinufft_cg,
        "BART": bart_cg,
    },
}
