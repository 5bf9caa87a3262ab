"""Kernels of our own, compiled by numba for the very processor when they are first called.

Gridding of eight channels side by side, Fourier transforms of sixteen lines side by side, and the Toeplitz
convolution made of them. Imported only when the back end ``numba`` is asked for.
"""
