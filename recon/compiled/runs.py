"""Runs: several lanes that follow each other in memory, held in registers between two uses.

A run is a tuple of lanes whose length compiled code knows. For compiled code only; see ``lanes``.
"""

from __future__ import annotations

from typing import Any

from numba import types

from recon.compiled.codegen import FLAGS, WIDTH, address_of, read_lanes, repeated, write_lanes
from recon.compiled.lanes import intrinsic, lanes


@intrinsic
def load_run(_typing: Any, array: Any, index: Any, like: Any) -> Any:
    """Return a run, as long as the tuple ``like``."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        run = [
            read_lanes(builder, address_of(context, builder, signature, args, 0, k * WIDTH))
            for k in range(len(like))
        ]
        return context.make_tuple(builder, signature.return_type, run)

    return types.UniTuple(lanes, len(like))(array, types.intp, like), generate


@intrinsic
def add_run(_typing: Any, array: Any, index: Any, run: Any, factor: Any) -> Any:
    """Add a run times a number to what is in memory."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        factors = repeated(builder, args[3])
        for k in range(len(run)):
            address = address_of(context, builder, signature, args, 0, k * WIDTH)
            product = builder.fmul(builder.extract_value(args[2], k), factors, flags=FLAGS)
            write_lanes(builder, builder.fadd(read_lanes(builder, address), product, flags=FLAGS), address)
        return context.get_dummy_value()

    return types.void(array, types.intp, run, types.float32), generate


@intrinsic
def sum_run(_typing: Any, run: Any, array: Any, index: Any, factor: Any) -> Any:
    """Return a run with what is in memory times a number added."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        factors = repeated(builder, args[3])
        total = []
        for k in range(len(run)):
            value = read_lanes(builder, address_of(context, builder, signature, args, 1, k * WIDTH))
            product = builder.fmul(value, factors, flags=FLAGS)
            total.append(builder.fadd(builder.extract_value(args[0], k), product, flags=FLAGS))
        return context.make_tuple(builder, signature.return_type, total)

    return run(run, array, types.intp, types.float32), generate


@intrinsic
def raise_run(_typing: Any, run: Any, factor: Any, array: Any, index: Any) -> Any:
    """Return a run times a number with what is in memory added: a step of Horner's rule."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        factors = repeated(builder, args[1])
        total = []
        for k in range(len(run)):
            value = read_lanes(builder, address_of(context, builder, signature, args, 2, k * WIDTH))
            product = builder.fmul(builder.extract_value(args[0], k), factors, flags=FLAGS)
            total.append(builder.fadd(product, value, flags=FLAGS))
        return context.make_tuple(builder, signature.return_type, total)

    return run(run, types.float32, array, types.intp), generate


@intrinsic
def scale_run(_typing: Any, run: Any, value: Any) -> Any:
    """Return a run, each of its lanes times ``value``."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        parts = [builder.extract_value(args[0], k) for k in range(len(run))]
        products = [builder.fmul(part, args[1], flags=FLAGS) for part in parts]
        return context.make_tuple(builder, signature.return_type, products)

    return run(run, lanes), generate


@intrinsic
def dot_run(_typing: Any, first: Any, second: Any) -> Any:
    """Return the sum of the products of two runs, lane by lane."""

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        total = None
        for k in range(len(first)):
            pair = [builder.extract_value(run, k) for run in args]
            product = builder.fmul(*pair, flags=FLAGS)
            total = product if total is None else builder.fadd(total, product, flags=FLAGS)
        return total

    return lanes(first, second), generate
