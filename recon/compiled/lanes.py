"""Sixteen single-precision numbers that compiled code loads, adds, multiplies and stores together.

A type of its own for numba: what a compiler would have to prove before it dared to use a processor's vector
instructions is written down instead. LLVM cuts the sixteen into the registers that the processor has (one of
AVX-512, two of AVX2, four of SSE or NEON). What takes or returns lanes is for compiled code only; arrays are
flat, and indices count floats.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
from numba import extending, types
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numpy.typing import NDArray

from recon.compiled.codegen import (
    FLAGS,
    VECTOR,
    WIDTH,
    address_of,
    base_address,
    in_turn,
    read_lanes,
    repeated,
    row_address,
    shuffled,
    write_lanes,
)

if TYPE_CHECKING:
    from collections.abc import Callable

Floats: TypeAlias = NDArray[np.float32]
#: Sixteen floats as compiled code sees them; numba has no types for type checkers.
LaneValue: TypeAlias = Any


def aligned(size: int) -> Floats:
    """Return that many zeros that begin on a cache line, float32."""
    memory = np.zeros(size + WIDTH, dtype=np.float32)
    start = -memory.ctypes.data // memory.itemsize % WIDTH
    return memory[start : start + size]


class Lanes(types.Type):
    """The type of sixteen floats to numba."""

    def __init__(self) -> None:
        super().__init__(name="Lanes")


lanes: Final = Lanes()


@extending.register_model(Lanes)
class _LanesModel(extending.models.PrimitiveModel):
    def __init__(self, manager: Any, lanes_type: Any) -> None:
        super().__init__(manager, lanes_type, VECTOR)


def intrinsic(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return what numba calls an intrinsic: a function that returns its types and its instructions."""
    result: Callable[..., Any] = extending.intrinsic(function)
    return result


def _define(operation: Callable[..., Any], instruction: str) -> None:
    """Teach numba lanes with lanes, and lanes with one float for all."""

    class Operation(AbstractTemplate):
        def generic(self, args: tuple[Any, ...], kws: object) -> Any:
            if args in ((lanes, lanes), (lanes, types.float32)):
                return signature(lanes, *args)
            return None

    def with_lanes(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return getattr(builder, instruction)(*args, flags=FLAGS)

    def with_number(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return getattr(builder, instruction)(args[0], repeated(builder, args[1]), flags=FLAGS)

    teach: Any = infer_global(operation)
    teach(Operation)
    extending.lower_builtin(operation, lanes, lanes)(with_lanes)
    extending.lower_builtin(operation, lanes, types.float32)(with_number)


for _operation, _instruction in ((operator.add, "fadd"), (operator.sub, "fsub"), (operator.mul, "fmul")):
    _define(_operation, _instruction)


@intrinsic
def filled(_typing: Any, value: Any) -> Any:
    """Return lanes that all hold ``value``."""
    return lanes(types.float32), lambda _context, builder, _signature, args: repeated(builder, args[0])


@intrinsic
def load(_typing: Any, array: Any, index: Any) -> Any:
    """Return the sixteen floats from ``index`` on."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return read_lanes(builder, address_of(context, builder, signature, args, 0))

    return lanes(array, types.intp), generate


@intrinsic
def store(_typing: Any, array: Any, index: Any, value: Any) -> Any:
    """Write sixteen floats from ``index`` on."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        write_lanes(builder, args[2], address_of(context, builder, signature, args, 0))
        return context.get_dummy_value()

    return types.void(array, types.intp, lanes), generate


@intrinsic
def load_complex(_typing: Any, array: Any, index: Any) -> Any:
    """Return the real and the imaginary parts of the sixteen complex numbers from ``index`` on."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        first = read_lanes(builder, address_of(context, builder, signature, args, 0))
        second = read_lanes(builder, address_of(context, builder, signature, args, 0, WIDTH))
        parts = [shuffled(builder, first, second, range(part, 2 * WIDTH, 2)) for part in range(2)]
        return context.make_tuple(builder, signature.return_type, parts)

    return types.UniTuple(lanes, 2)(array, types.intp), generate


@intrinsic
def store_complex(_typing: Any, array: Any, index: Any, real: Any, imag: Any) -> Any:
    """Write sixteen complex numbers, real and imaginary parts in turn, from ``index`` on."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        for half in range(2):
            chosen = range(half * WIDTH // 2, (half + 1) * WIDTH // 2)
            value = shuffled(builder, args[2], args[3], in_turn(chosen))
            write_lanes(builder, value, address_of(context, builder, signature, args, 0, half * WIDTH))
        return context.get_dummy_value()

    return types.void(array, types.intp, lanes, lanes), generate


@intrinsic
def transpose(_typing: Any, source: Any, index: Any, step: Any, target: Any, at: Any, stride: Any) -> Any:
    """Write sixteen rows of sixteen floats, ``step`` apart, as columns, their rows ``stride`` apart."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = [base_address(context, builder, signature, args, place) for place in (0, 3)]
        rows = [
            read_lanes(builder, row_address(builder, data[0], args[1], args[2], row)) for row in range(WIDTH)
        ]
        half = WIDTH // 2
        for _ in range(4):
            # rows i and i + 8 lane by lane in turn become rows 2 i and 2 i + 1: four times turns the matrix
            rows = [
                shuffled(builder, rows[row], rows[row + half], in_turn(chosen))
                for row in range(half)
                for chosen in (range(half), range(half, WIDTH))
            ]
        for row, value in enumerate(rows):
            write_lanes(builder, value, row_address(builder, data[1], args[4], args[5], row))
        return context.get_dummy_value()

    return types.void(source, types.intp, types.intp, target, types.intp, types.intp), generate
