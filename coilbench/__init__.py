"""Dual-tuned 23Na/1H coil arrays from the soldering bench to a signed-off phantom image.

``coilbench.open_bench("bench.toml")`` opens every instrument that the file names. Nothing is imported
before it is used, so ``coilbench --help`` starts without the science.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from coilbench.bench import Bench, open_bench

__version__ = "0.1.0"
__all__ = ["Bench", "open_bench"]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - PEP 562
    """Import the public names when they are first used (PEP 562)."""
    if name in __all__:
        from coilbench import bench

        return getattr(bench, name)
    raise AttributeError(f"module 'coilbench' has no attribute {name!r}")
