"""How the functions of this package are compiled, and where compiled code is kept for the next process."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import numba

from recon.compiled.codegen import FLAGS

_Function = TypeVar("_Function", bound=Callable[..., Any])
#: Fingerprint of this package: code compiled from other sources is not used again.
_SOURCES: Final = hashlib.sha256(
    b"".join(source.read_bytes() for source in sorted(Path(__file__).parent.glob("*.py")))
).hexdigest()


def compiled(function: _Function) -> _Function:
    """Have numba compile at the first call: no interpreter lock, no check of bounds."""
    return _compile(function, inline=False)


def inlined(function: _Function) -> _Function:
    """Compile into the callers: handing over an array costs more than some functions do."""
    return _compile(function, inline=True)


def _compile(function: _Function, *, inline: bool) -> _Function:
    options = {
        "nogil": True,
        "boundscheck": False,
        "fastmath": set(FLAGS),
        "error_model": "numpy",
        "forceinline": inline,
    }
    njit: Any = numba.njit
    try:
        result: Any = njit(cache=True, **options)(function)
        _stamp(result)
    except (RuntimeError, AttributeError):
        # no folder to keep compiled code in can be written to, or a numba that keeps it in another way: every
        # process compiles anew
        result = njit(**options)(function)
    typed: _Function = result
    return typed


def _stamp(dispatcher: Any) -> None:  # noqa: ANN401 - numba has no types
    """Tie kept code to all sources: numba looks at the function's own file, not at those it calls."""
    file = dispatcher._cache._cache_file  # noqa: SLF001 - there is no public way
    if not file._source_stamp:  # noqa: SLF001
        raise AttributeError("numba keeps compiled code without a stamp of its source")
    file._source_stamp = _SOURCES  # noqa: SLF001
