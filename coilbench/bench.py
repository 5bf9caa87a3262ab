"""The composition root: from a bench file to open instruments, and back to a safe bench."""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

from coilbench.base.errors import BenchFileError, ConnectionFailed, InstrumentError, InstrumentFault
from coilbench.bench_file import BenchFile, read_bench_file
from coilbench.guardian import SafeAction
from drivers import registry
from drivers.complaints import Complaints

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from types import TracebackType

    from coilbench.bench_file import Switch
    from drivers.protocols import Instrument, NetworkAnalyzer, Receiver, Scanner, SwitchMatrix, Tuner


@dataclass(frozen=True, slots=True)
class Bench:
    """All instruments of a bench file, open; a context manager that leaves the bench safe.

    Parameters
    ----------
    file
        The bench file.
    analyzer, tuner, receiver, scanner
        Open instruments.
    """

    file: BenchFile
    analyzer: NetworkAnalyzer
    tuner: Tuner
    receiver: Receiver
    scanner: Scanner

    @property
    def instruments(self) -> tuple[Instrument, ...]:
        """Every open instrument; what makes noise or moves comes first."""
        return (self.scanner, self.analyzer, self.tuner, self.receiver)

    def make_safe(self) -> None:
        """Switch RF, bias and motion off on every instrument, whatever each of them says.

        Raises
        ------
        InstrumentFault
            An instrument could not be told, or did not obey; what it must not do now is for a person to see.
        """
        make_all_safe(self.instruments)

    def close(self) -> None:
        """Make safe and close every instrument."""
        _leave(self.instruments)

    def __enter__(self) -> Self:
        """Return the bench."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close; an error of the run is not hidden by one of closing."""
        try:
            self.close()
        except (InstrumentError, ExceptionGroup) as closing:
            if error is None:
                raise
            error.add_note(f"and the bench could not be closed cleanly: {closing}")


def open_bench(source: str | Path | BenchFile, /) -> Bench:
    """Open every instrument that a bench file names, all at once, and make each safe first.

    Parameters
    ----------
    source
        Path of a bench file, or the file read already.

    Raises
    ------
    BenchFileError
        The file holds mistakes, or expects ports, channels or axes that the instruments do not have.
    ConnectionFailed
        One or more instruments could not be opened; all of them are named.
    """
    file = source if isinstance(source, BenchFile) else read_bench_file(Path(source))
    opened = _open_all(_chosen(file, ("analyzer", "tuner", "receiver", "scanner")))
    bench = Bench(file, **cast("Any", opened))
    try:
        bench.make_safe()
        _check_fit(file, opened)
    except BaseException:
        _close(opened)
        raise
    return bench


@contextlib.contextmanager
def open_some(
    file: BenchFile, names: Sequence[str], /, *, ports_at_once: int | None = None
) -> Iterator[Mapping[str, Instrument]]:
    """Open only some instruments of a bench file, make them safe, and leave them safe and closed.

    Parameters
    ----------
    names
        Such as ``("analyzer", "tuner")``, as the tables of the bench file are called.
    ports_at_once
        How many of the array's ports are connected to the analyzer at a time, 2 for pair by pair; None: all.

    Raises
    ------
    BenchFileError
        The file lacks one of them, or expects ports or axes that they do not have.
    ConnectionFailed
        One or more of them could not be opened.
    """
    opened = _open_all(_chosen(file, names))
    instruments = tuple(opened.values())
    try:
        make_all_safe(instruments)
        _check_fit(file, opened, ports_at_once)
        yield opened
    except BaseException as error:
        try:
            _leave(instruments)
        except (InstrumentError, ExceptionGroup) as closing:
            error.add_note(f"and the bench could not be closed cleanly: {closing}")
        raise
    _leave(instruments)


def make_all_safe(instruments: Sequence[Instrument], /) -> None:
    """Switch RF, bias and motion off on instruments, whatever each of them says.

    Raises
    ------
    InstrumentFault
        An instrument could not be told, or did not obey; what it must not do now is for a person to see.
    """
    failures: list[InstrumentError] = []
    for instrument in instruments:
        with Complaints() as complaints:
            instrument.make_safe()
        failures += [InstrumentFault(instrument.name, f"not safe: {text}") for text in complaints.texts]
    if failures:
        raise failures[0] if len(failures) == 1 else ExceptionGroup("instruments not safe", failures)


def _leave(instruments: Sequence[Instrument]) -> None:
    """Make safe and close."""
    with contextlib.ExitStack() as stack:
        for instrument in instruments:
            stack.callback(instrument.close)
        make_all_safe(instruments)


def _open_all(opening: Mapping[str, Callable[[], Instrument]]) -> dict[str, Instrument]:
    """Open instruments, all at once; close the others when one of them cannot be opened."""
    with ThreadPoolExecutor(max_workers=len(opening), thread_name_prefix="open") as pool:
        pending = {name: pool.submit(opener) for name, opener in opening.items()}
    opened: dict[str, Instrument] = {}
    failures: dict[str, BaseException] = {}
    for name, future in pending.items():
        error = future.exception()
        if error is None:
            opened[name] = future.result()
        else:
            failures[name] = error
    if failures:
        _close(opened)
        raise _all_of(failures)
    return opened


def _chosen(file: BenchFile, names: Sequence[str]) -> dict[str, Callable[[], Instrument]]:
    """Return what opens the instruments ``names``.

    Raises
    ------
    BenchFileError
        The file does not have all of them.
    """
    every = openers(file)
    if missing := [name for name in names if name not in every]:
        tables = ", ".join(f"[instruments.{name}]" for name in missing)
        raise BenchFileError(
            f"the bench file of {file.name!r} has no {tables}, which this needs; add what is missing"
        )
    return {name: every[name] for name in names}


def _check_fit(file: BenchFile, opened: Mapping[str, Instrument], ports_at_once: int | None = None) -> None:
    """Say what the file expects of the open instruments and they do not have.

    Raises
    ------
    BenchFileError
        Ports, channels or axes are missing; all mismatches are listed.
    """
    array, mismatches = file.array, []
    highest = max(port for ports in array.ports.values() for port in ports)
    if "analyzer" in opened:
        analyzer = cast("NetworkAnalyzer", opened["analyzer"])
        count = analyzer.port_count
        if ports_at_once is not None and count < ports_at_once:
            mismatches.append(f"{ports_at_once} ports at a time need as many; {analyzer.name} has {count}")
        elif ports_at_once is None and highest > count:
            mismatches.append(
                f"[array.ports] names port {highest}, but {analyzer.name} has {count} ports; "
                "`coilbench sweep --pairwise` measures pair by pair"
            )
    if "receiver" in opened:
        receiver = cast("Receiver", opened["receiver"])
        if array.channels != receiver.channel_count:
            mismatches.append(
                f"[array] has {array.channels} channels, but {receiver.name} receives "
                f"{receiver.channel_count}; add or remove boards in [instruments.receiver]"
            )
    if "tuner" in opened:
        mismatches += _missing_axes(file, cast("Tuner", opened["tuner"]))
    if mismatches:
        raise BenchFileError("\n".join(mismatches))


def _missing_axes(file: BenchFile, tuner: Tuner) -> list[str]:
    """Say which axes the file expects and the tuner does not have."""
    array = file.array
    missing = [
        axis
        for channel in range(1, array.channels + 1)
        for nucleus in array.nuclei
        for axis in (f"ch{channel}.{array.axes[nucleus]}.{trimmer}" for trimmer in ("tune", "match"))
        if axis not in tuner.axes
    ]
    if not missing:
        return []
    return [
        (
            f"[array.axes] expects {', '.join(missing[:4])}{', ...' if len(missing) > 4 else ''}, but "
            f"{tuner.name} has {', '.join(list(tuner.axes)[:4])}, ..."
        )
    ]


def _close(opened: Mapping[str, Instrument]) -> None:
    for instrument in opened.values():
        with contextlib.suppress(InstrumentError):
            instrument.close()


def openers(file: BenchFile) -> dict[str, Callable[[], Instrument]]:
    """Return what opens each instrument that the bench file has, by the name of its table.

    Parameters
    ----------
    file
        The bench file; its limits go to the drivers.
    """
    places, limits = file.instruments, file.limits

    def open_analyzer() -> Instrument:
        analyzer = registry.open_instrument(
            places.analyzer.driver,
            places.analyzer.address,
            name="analyzer",
            power_limit_dbm=limits.source_power_dbm,
        )
        return analyzer if places.switch is None else _behind(analyzer, places.switch)

    every: dict[str, Callable[[], Instrument]] = {"analyzer": open_analyzer}
    if (tuner := places.tuner) is not None:
        every["tuner"] = lambda: registry.open_instrument(
            tuner.driver, tuner.address, name="tuner", bias_limit=limits.bias_current
        )
    if (receiver := places.receiver) is not None:
        every["receiver"] = lambda: registry.open_instrument(
            receiver.driver, receiver.addresses, name="receiver", full_scale=receiver.full_scale
        )
    if (scanner := places.scanner) is not None:
        every["scanner"] = lambda: registry.open_instrument(scanner.driver, scanner.address, name="scanner")
    return every


def _behind(analyzer: Instrument, place: Switch) -> Instrument:
    """Return the analyzer with its switch, as one with many ports; close it if that fails."""
    from coilbench.switched_analyzer import SwitchedAnalyzer, read_switch_data

    try:
        pairs = [(int(one), int(other)) for one, _, other in (name.partition("-") for name in place.routes)]
        data = read_switch_data(Path(place.files), pairs, place.repeatability)
        switch = registry.open_instrument(
            place.driver,
            place.address,
            name="switch",
            routes=place.routes,
            parked=place.parked,
            forbidden=place.forbidden,
        )
    except BaseException:
        analyzer.close()
        raise
    return SwitchedAnalyzer(cast("NetworkAnalyzer", analyzer), cast("SwitchMatrix", switch), data)


def _all_of(failures: dict[str, BaseException]) -> BaseException:
    """Return one error for all instruments that could not be opened."""
    mistakes = [
        f"[instruments.{name}] {error}"
        for name, error in failures.items()
        if isinstance(error, BenchFileError)
    ]
    if mistakes:
        return BenchFileError("\n".join(mistakes))
    unusable = [error for error in failures.values() if isinstance(error, InstrumentError)]
    if len(unusable) == len(failures) > 1:
        names = ", ".join(error.instrument for error in unusable)
        return ConnectionFailed(names, "; ".join(map(str, unusable)))
    # a defect of a driver, if there is one, is told with its traceback
    return next((e for e in failures.values() if not isinstance(e, InstrumentError)), unusable[0])


def safe_actions(file: BenchFile, /) -> tuple[SafeAction, ...]:
    """Return what the guardian does when the run dies: it makes each instrument safe that can do harm.

    Parameters
    ----------
    file
        The bench file; an instrument without ``guardian_address`` is reached at its ``address``, which is
        free again once its owner is dead.
    """
    places = file.instruments
    return tuple(
        SafeAction(name=name, driver=place.driver, address=place.guardian_address or place.address)
        for name, place in (
            ("scanner", places.scanner),
            ("analyzer", places.analyzer),
            ("tuner", places.tuner),
        )
        if place is not None
    )
