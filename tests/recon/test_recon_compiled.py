"""Our own compiled kernels against sums and transforms of others."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.fft
from hypothesis import given, settings
from hypothesis import strategies as st

from recon.nufft_backends import DirectSum

pytest.importorskip("numba")

from recon.compiled import compiling
from recon.compiled.convolution import CompiledConvolution
from recon.compiled.fourier import good_length, line_buffer, roots_of_unity, transform_lines
from recon.compiled.kernel import SpreadingKernel
from recon.compiled.nufft import NumbaBackend

SMOOTH = st.builds(lambda a, b, c: 2**a * 3**b * 5**c, *(st.integers(0, most) for most in (8, 3, 3)))


def complex_noise(rng, *shape):
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)


def difference(measured, exact):
    return np.linalg.norm(measured - exact) / np.linalg.norm(exact)


@settings(deadline=None, max_examples=60)
@given(SMOOTH.filter(lambda length: length <= 4000), st.integers(0, 99))
def test_sixteen_lines_are_transformed_as_numpy_does(length, seed):
    """Single precision rounds by 6e-8 in each of the log2 n passes."""
    lines = complex_noise(np.random.default_rng(seed), length, 16)
    x, y = line_buffer(length), line_buffer(length)
    x[: 16 * length], x[16 * length :] = lines.real.ravel(), lines.imag.ravel()
    result = transform_lines(x, y, roots_of_unity(length))
    parts = result.reshape(2, length, 16)
    exact = np.fft.fft(lines.astype(np.complex128), axis=0)
    assert difference(parts[0] + 1j * parts[1], exact) < 6e-8 * (1 + np.log2(length))


def test_lengths_with_other_factors_are_refused():
    assert [good_length(n) for n in (0, 1, 7, 16, 97, 127, 250)] == [2, 2, 8, 16, 100, 128, 250]
    with pytest.raises(ValueError, match="prime factors 2, 3 and 5"):
        roots_of_unity(14)


@pytest.mark.parametrize(
    "shape", [(1, 1, 1), (2, 3, 1), (4, 5, 6), (9, 12, 16), (1, 7, 10), (17, 33, 20), (3, 18, 50)]
)
def test_convolution_is_what_padded_transforms_give(shape):
    """Blocks of sixteen that are full, partly full and single, along every axis."""
    rng = np.random.default_rng(1)
    padded = [scipy.fft.next_fast_len(2 * n - 1, real=True) for n in shape]
    spectrum = rng.standard_normal(padded).astype(np.float32)
    image, sensitivities, before = complex_noise(rng, *shape), complex_noise(rng, 3, *shape), 2 - 1j
    total = np.full(shape, before, dtype=np.complex64)
    CompiledConvolution(spectrum).add(image, iter(sensitivities), total, 1)
    exact = np.full(shape, before, dtype=np.complex128)
    for sensitivity in sensitivities:
        filtered = np.fft.ifftn(np.fft.fftn((image * sensitivity).astype(np.complex128), padded) * spectrum)
        inside = filtered[: shape[0], : shape[1], : shape[2]] * np.prod(padded)
        exact += sensitivity.conj() * inside
    assert difference(total, exact) < 1e-6


@pytest.mark.parametrize("shape", [(9, 12, 16), (1, 7, 10), (2, 1, 3), (1, 2, 520)])
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 8, 11])
def test_every_number_of_channels_and_every_edge_of_k_space(shape, channels):
    """Cells of one, two, four and eight channels, odd grids; points on, and a thousandth beyond, the edge."""
    rng = np.random.default_rng(channels)
    phases = rng.uniform(-np.pi, np.pi, (3, 300)).astype(np.float32)
    phases[:, :40] = np.float32(np.pi * 1.001) * rng.choice([-1, 1], (3, 40))
    samples, images = complex_noise(rng, channels, 300), complex_noise(rng, channels, *shape)
    weights = rng.uniform(0.5, 2, 300).astype(np.float32)
    ours, exact = NumbaBackend(shape, phases, tolerance=1e-5, threads=2), DirectSum(shape, phases)
    results = []
    for engine in (ours, exact):
        gridded, sampled = np.empty_like(images), np.empty_like(samples)
        engine.adjoint(samples, weights, gridded)
        engine.forward(images, np.float32(3), sampled)
        results.append((gridded, sampled))
    for measured, truth in zip(*results, strict=True):
        # a long axis: float32 knows a position near its end to 3e-8 of the axis, which is 3e-5 of 1040 cells
        assert difference(measured, truth) < (2e-5 if max(shape) < 100 else 5e-5)


@pytest.mark.parametrize("tolerance", [1e-2, 1e-3, 1e-4, 1e-5, 1e-6])
def test_requested_accuracy_is_kept(tolerance):
    """White noise, which has as much at the folded edges as inside: the worst case, within a fifth."""
    rng = np.random.default_rng(5)
    phases = rng.uniform(-np.pi, np.pi, (3, 2000)).astype(np.float32)
    samples, gridded, truth = complex_noise(rng, 1, 2000), *np.empty((2, 1, 16, 15, 14), np.complex64)
    NumbaBackend((16, 15, 14), phases, tolerance=tolerance, threads=1).adjoint(samples, None, gridded)
    DirectSum((16, 15, 14), phases).adjoint(samples, None, truth)
    # at 1e-6 single precision itself rounds positions to 4e-7 of a cell
    assert difference(gridded, truth) < 1.2 * tolerance + 1e-6


def test_threads_and_crowds_change_nothing():
    """All points in one cube, and over all layers of cubes: each cell's sum in one order, to the last bit."""
    rng = np.random.default_rng(6)
    for reach in (0.01, 3.1):
        phases = (0.4 + rng.uniform(-reach, reach, (3, 5000))).clip(-3.1, 3.1).astype(np.float32)
        samples, images = complex_noise(rng, 8, 5000), complex_noise(rng, 8, 20, 18, 16)
        results = []
        for threads in (1, 4):
            engine = NumbaBackend((20, 18, 16), phases, tolerance=1e-4, threads=threads)
            gridded, sampled = np.empty_like(images), np.empty_like(samples)
            engine.adjoint(samples, None, gridded)
            engine.forward(images, np.float32(3), sampled)
            results.append((gridded, sampled))
        for one, four in zip(*results, strict=True):
            np.testing.assert_array_equal(four, one)


def test_the_kernels_transform_is_that_of_its_polynomials():
    kernel = SpreadingKernel.of_tolerance(1e-4)
    t = np.linspace(-1, 1, 20001)
    values = np.concatenate([np.polyval(kernel.coefficients[:, cell], t) for cell in range(kernel.width)])
    places = np.concatenate([cell + (t + 1) / 2 for cell in range(kernel.width)]) - kernel.width / 2
    for frequency in (0.0, 0.1, 0.25):
        sums = np.trapezoid(values * np.cos(2 * np.pi * frequency * places), places)
        assert kernel.transform(np.array(frequency)) == pytest.approx(sums, rel=1e-6)


def test_code_compiled_from_other_sources_is_not_used_again(tmp_path):
    """Numba itself looks at the file of the function that is called, not at those that it calls."""
    package = tmp_path / "recon" / "compiled"
    package.mkdir(parents=True)
    (package.parent / "__init__.py").touch()
    for name in ("__init__", "codegen", "compiling"):
        shutil.copy(Path(compiling.__file__).with_name(f"{name}.py"), package)
    heading = "from recon.compiled.compiling import compiled\n"
    (package / "outer.py").write_text(
        f"{heading}from recon.compiled.inner import inner\n@compiled\ndef outer(x):\n    return inner(x)\n"
    )
    program = "from recon.compiled.outer import outer; print(outer(1), sum(outer.stats.cache_hits.values()))"
    printed = []
    for added in (1, 1, 100):
        (package / "inner.py").write_text(f"{heading}@compiled\ndef inner(x):\n    return x + {added}\n")
        command = [sys.executable, "-c", program]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        printed.append(done.stdout.split())
    assert printed == [["2", "0"], ["2", "1"], ["101", "0"]]


def test_no_folder_to_keep_compiled_code_in_is_no_error():
    """A read-only installation for a user without a home: numba finds no place and says so with an error."""
    program = """
from recon.compiled.fourier import line_buffer, roots_of_unity, transform_lines
x = line_buffer(2)
x[0] = 1
print(type(transform_lines._cache).__name__, transform_lines(x, line_buffer(2), roots_of_unity(2))[:17:16])
"""
    nowhere = {**os.environ, "NUMBA_CACHE_LOCATOR_CLASSES": "IPythonCacheLocator"}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=nowhere, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "NullCache [1. 1.]"
