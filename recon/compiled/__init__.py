"""Kernels of our own, compiled by numba for the very processor when they are first called.

Gridding of eight channels side by side, Fourier transforms of sixteen lines side by side, and the Toeplitz
convolution made of them. The modules can be imported where numba can.
"""

from __future__ import annotations


def is_numba_usable() -> bool:
    """Answer whether numba can be imported: it refuses a numpy that it is not made for."""
    try:
        import numba  # noqa: F401
    except ImportError:
        return False
    return True
