"""Kernels of our own, compiled by numba for the very processor when they are first called.

Gridding of eight channels side by side, Fourier transforms of sixteen lines side by side, and the Toeplitz
convolution made of them. Nothing here is imported where numba is not installed.
"""

from __future__ import annotations

from importlib.util import find_spec


def is_numba_installed() -> bool:
    """Answer whether the modules of this package can be imported."""
    return find_spec("numba") is not None
