"""LLVM instructions for sixteen floats at a time: addresses, reads, writes and shuffles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from llvmlite import ir

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Numbers side by side: a cache line of them, and the longest register there is.
WIDTH: Final = 16
VECTOR: Final = ir.VectorType(ir.FloatType(), WIDTH)
#: A product and a sum may become one instruction that rounds once.
FLAGS: Final = ("contract", "nsz")
_INDEX: Final = ir.IntType(32)


def in_turn(chosen: range) -> list[int]:
    """Return the shuffle that takes chosen lanes of one and the other vector in turn."""
    return [lane + part * WIDTH for lane in chosen for part in range(2)]


def base_address(context: Any, builder: Any, signature: Any, args: Any, place: int) -> Any:
    """Return where the flat array begins that is argument ``place``."""
    return context.make_array(signature.args[place])(context, builder, args[place]).data


def address_of(context: Any, builder: Any, signature: Any, args: Any, place: int, further: int = 0) -> Any:
    """Return the address in that array at the index that is the next argument, and ``further`` floats on."""
    index = builder.add(args[place + 1], ir.Constant(args[place + 1].type, further))
    return builder.gep(base_address(context, builder, signature, args, place), [index])


def row_address(builder: Any, data: Any, index: Any, step: Any, row: int) -> Any:
    """Return the address of a row, rows ``step`` floats apart."""
    return builder.gep(data, [builder.add(index, builder.mul(step, ir.Constant(step.type, row)))])


def read_lanes(builder: Any, address: Any) -> Any:
    """Return sixteen floats from an address of any alignment."""
    value = builder.load(builder.bitcast(address, VECTOR.as_pointer()))
    value.align = 4
    return value


def write_lanes(builder: Any, value: Any, address: Any) -> None:
    """Write sixteen floats to an address of any alignment."""
    builder.store(value, builder.bitcast(address, VECTOR.as_pointer())).align = 4


def shuffled(builder: Any, first: Any, second: Any, order: Iterable[int]) -> Any:
    """Return lanes of two vectors, those of the second counted from sixteen, in some order."""
    mask = ir.Constant(ir.VectorType(_INDEX, WIDTH), list(order))
    return builder.shuffle_vector(first, second, mask)


def repeated(builder: Any, number: Any) -> Any:
    """Return sixteen times a number."""
    empty = ir.Constant(VECTOR, ir.Undefined)
    first = builder.insert_element(empty, number, ir.Constant(_INDEX, 0))
    return shuffled(builder, first, first, [0] * WIDTH)
