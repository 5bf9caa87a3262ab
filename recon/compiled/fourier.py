"""Discrete Fourier transforms of sixteen lines side by side, of any length that 2, 3 and 5 divide out.

Stockham's arrangement: each pass goes from one buffer to the other and leaves its results in order, so no
sorting follows; Van Loan, Computational Frameworks for the Fast Fourier Transform (1992), section 1.7. A
buffer holds n rows of sixteen real parts, then n rows of sixteen imaginary parts, which fits a processor's
first-level cache up to n = 128. Transforms are unscaled. One sign is enough: exchanging real and imaginary
parts on the way in and out turns one into the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np

from recon.compiled.codegen import WIDTH
from recon.compiled.compiling import compiled, inlined
from recon.compiled.lanes import aligned, filled, load, load_complex, store, store_complex

if TYPE_CHECKING:
    from recon.compiled.lanes import Floats, LaneValue

    Pair: TypeAlias = tuple[LaneValue, LaneValue]

_SIN_60: Final = np.float32(np.sqrt(3) / 2)
_COS_72, _SIN_72 = np.float32(np.cos(np.pi * 0.4)), np.float32(np.sin(np.pi * 0.4))
_COS_144, _SIN_144 = np.float32(np.cos(np.pi * 0.8)), np.float32(np.sin(np.pi * 0.8))
_HALF: Final = np.float32(0.5)


def good_length(least: int) -> int:
    """Return the smallest even length of at least ``least`` that can be transformed."""
    length = max(2, least + least % 2)
    while not _divides_out(length):
        length += 2
    return length


def roots_of_unity(length: int) -> Floats:
    """Return cos and sin of -2 pi j / length, first all cosines, shape (2 length).

    Raises
    ------
    ValueError
        The length has prime factors other than 2, 3 and 5.
    """
    if not _divides_out(length):
        raise ValueError(f"a length with prime factors 2, 3 and 5 only is needed, got {length}")
    angles = -2 * np.pi * np.arange(length) / length
    return np.concatenate([np.cos(angles), np.sin(angles)]).astype(np.float32)


def line_buffer(length: int) -> Floats:
    """Return an empty buffer for sixteen lines of ``length`` complex numbers."""
    return aligned(2 * WIDTH * length)


def _divides_out(length: int) -> bool:
    for prime in (2, 3, 5):
        while length > 1 and length % prime == 0:
            length //= prime
    return length == 1


@compiled
def transform_lines(x: Floats, y: Floats, roots: Floats) -> Floats:
    """Transform the lines in ``x``, exp(-i), and return the one of both buffers that holds the result."""
    n = rest = len(roots) // 2
    while rest > 1:
        done = n // rest
        if rest % 4 == 0:
            _pass_4(x, y, roots, rest, done)
            rest //= 4
        elif rest % 2 == 0:
            _pass_2(x, y, roots, rest, done)
            rest //= 2
        elif rest % 3 == 0:
            _pass_3(x, y, roots, rest, done)
            rest //= 3
        else:
            _pass_5(x, y, roots, rest, done)
            rest //= 5
        x, y = y, x
    return x


@compiled
def take_rows(
    source: Floats,
    start: int,
    step: int,
    count: int,
    width: int,
    x: Floats,
    n: int,
    first: int,
    inverse: bool,
) -> None:
    """Fill a buffer of n rows: ``count`` of up to sixteen complex numbers from row ``first``, else zeros.

    ``start`` and ``step`` count floats of the flat source; rows go on with 0 after n - 1. Lanes beyond
    ``width`` keep what they hold.
    """
    real = n * WIDTH if inverse else 0
    imag = n * WIDTH - real
    nothing = filled(np.float32(0))
    for row in range(n):
        at = (first + row) * WIDTH if first + row < n else (first + row - n) * WIDTH
        if row >= count:
            store(x, real + at, nothing)
            store(x, imag + at, nothing)
        elif width == WIDTH:
            re, im = load_complex(source, start + row * step)
            store(x, real + at, re)
            store(x, imag + at, im)
        else:
            for lane in range(width):
                x[real + at + lane] = source[start + row * step + 2 * lane]
                x[imag + at + lane] = source[start + row * step + 2 * lane + 1]


@compiled
def put_rows(
    x: Floats,
    n: int,
    first: int,
    inverse: bool,
    target: Floats,
    start: int,
    step: int,
    count: int,
    width: int,
) -> None:
    """Write ``count`` rows of a buffer from row ``first`` on, as complex numbers: the way back."""
    real = n * WIDTH if inverse else 0
    imag = n * WIDTH - real
    for row in range(count):
        at = (first + row) * WIDTH if first + row < n else (first + row - n) * WIDTH
        if width == WIDTH:
            store_complex(target, start + row * step, load(x, real + at), load(x, imag + at))
        else:
            for lane in range(width):
                target[start + row * step + 2 * lane] = x[real + at + lane]
                target[start + row * step + 2 * lane + 1] = x[imag + at + lane]


@inlined
def _turned(re: LaneValue, im: LaneValue, cosine: np.float32, sine: np.float32) -> Pair:
    return re * cosine - im * sine, re * sine + im * cosine


@inlined
def _put(y: Floats, at: int, n: int, re: LaneValue, im: LaneValue) -> None:
    store(y, at, re)
    store(y, n * WIDTH + at, im)


@inlined
def _take(x: Floats, at: int, n: int) -> Pair:
    return load(x, at), load(x, n * WIDTH + at)


@compiled
def _pass_2(x: Floats, y: Floats, roots: Floats, rest: int, done: int) -> None:
    n, block = len(roots) // 2, done * WIDTH
    apart = rest // 2 * block
    for p in range(rest // 2):
        c, s = roots[p * done], roots[n + p * done]
        for k in range(p * block, (p + 1) * block, WIDTH):
            ar, ai = _take(x, k, n)
            br, bi = _take(x, k + apart, n)
            at = k + p * block
            _put(y, at, n, ar + br, ai + bi)
            re, im = _turned(ar - br, ai - bi, c, s)
            _put(y, at + block, n, re, im)


@compiled
def _pass_3(x: Floats, y: Floats, roots: Floats, rest: int, done: int) -> None:
    n, block = len(roots) // 2, done * WIDTH
    apart = rest // 3 * block
    for p in range(rest // 3):
        j = p * done
        for k in range(p * block, (p + 1) * block, WIDTH):
            ar, ai = _take(x, k, n)
            br, bi = _take(x, k + apart, n)
            cr, ci = _take(x, k + 2 * apart, n)
            tr, ti = br + cr, bi + ci
            ur, ui = ar - tr * _HALF, ai - ti * _HALF
            vr, vi = (bi - ci) * _SIN_60, (cr - br) * _SIN_60
            at = k + 2 * p * block
            _put(y, at, n, ar + tr, ai + ti)
            re, im = _turned(ur + vr, ui + vi, roots[j], roots[n + j])
            _put(y, at + block, n, re, im)
            re, im = _turned(ur - vr, ui - vi, roots[2 * j], roots[n + 2 * j])
            _put(y, at + 2 * block, n, re, im)


@compiled
def _pass_4(x: Floats, y: Floats, roots: Floats, rest: int, done: int) -> None:
    n, block = len(roots) // 2, done * WIDTH
    apart = rest // 4 * block
    for p in range(rest // 4):
        j = p * done
        c1, s1 = roots[j], roots[n + j]
        c2, s2 = roots[2 * j], roots[n + 2 * j]
        c3, s3 = roots[3 * j], roots[n + 3 * j]
        for k in range(p * block, (p + 1) * block, WIDTH):
            ar, ai = _take(x, k, n)
            br, bi = _take(x, k + apart, n)
            cr, ci = _take(x, k + 2 * apart, n)
            dr, di = _take(x, k + 3 * apart, n)
            tr, ti, ur, ui = ar + cr, ai + ci, ar - cr, ai - ci
            vr, vi, er, ei = br + dr, bi + di, bi - di, dr - br
            at = k + 3 * p * block
            _put(y, at, n, tr + vr, ti + vi)
            re, im = _turned(ur + er, ui + ei, c1, s1)
            _put(y, at + block, n, re, im)
            re, im = _turned(tr - vr, ti - vi, c2, s2)
            _put(y, at + 2 * block, n, re, im)
            re, im = _turned(ur - er, ui - ei, c3, s3)
            _put(y, at + 3 * block, n, re, im)


@compiled
def _pass_5(x: Floats, y: Floats, roots: Floats, rest: int, done: int) -> None:
    n, block = len(roots) // 2, done * WIDTH
    apart = rest // 5 * block
    for p in range(rest // 5):
        j = p * done
        for k in range(p * block, (p + 1) * block, WIDTH):
            ar, ai = _take(x, k, n)
            br, bi = _take(x, k + apart, n)
            cr, ci = _take(x, k + 2 * apart, n)
            dr, di = _take(x, k + 3 * apart, n)
            er, ei = _take(x, k + 4 * apart, n)
            # sums and differences of the pairs (1, 4) and (2, 3)
            pr, pi, qr, qi = br + er, bi + ei, cr + dr, ci + di
            fr, fi, gr, gi = br - er, bi - ei, cr - dr, ci - di
            ur, ui = ar + pr * _COS_72 + qr * _COS_144, ai + pi * _COS_72 + qi * _COS_144
            vr, vi = ar + pr * _COS_144 + qr * _COS_72, ai + pi * _COS_144 + qi * _COS_72
            hr, hi = fi * _SIN_72 + gi * _SIN_144, fr * _SIN_72 + gr * _SIN_144
            lr, li = fi * _SIN_144 - gi * _SIN_72, fr * _SIN_144 - gr * _SIN_72
            at = k + 4 * p * block
            _put(y, at, n, ar + pr + qr, ai + pi + qi)
            re, im = _turned(ur + hr, ui - hi, roots[j], roots[n + j])
            _put(y, at + block, n, re, im)
            re, im = _turned(vr + lr, vi - li, roots[2 * j], roots[n + 2 * j])
            _put(y, at + 2 * block, n, re, im)
            re, im = _turned(vr - lr, vi + li, roots[3 * j], roots[n + 3 * j])
            _put(y, at + 3 * block, n, re, im)
            re, im = _turned(ur - hr, ui + hi, roots[4 * j], roots[n + 4 * j])
            _put(y, at + 4 * block, n, re, im)
