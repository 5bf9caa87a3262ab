"""Every error coilbench raises on purpose.

CoilbenchError
├── BenchFileError            the bench file (or a command's argument) is wrong
├── InstrumentError           names the instrument and, where there is one, the command
│   ├── ConnectionFailed      could not be opened
│   ├── ConnectionLost        was open, the peer went away
│   ├── ReplyTimeout          no answer before the deadline; the link is poisoned
│   ├── ProtocolError         an answer came that the manual does not allow
│   ├── InstrumentFault       the instrument says it failed (its own words are kept)
│   └── LimitExceeded         refused below the application: RF, bias or travel limit
├── AcquisitionError
│   ├── DataLost              samples are missing; their place is unknown
│   └── TruncatedStream       a raw stream ends in the middle of a message
├── StorageError              the disk refused (full, read-only)
├── MeasurementError          data are there but no number can be stated
└── RunAborted                a person or a signal stopped the run

Programmer's mistakes stay ValueError and TypeError.
"""

from __future__ import annotations

from typing import Final

#: What the command line returns when a run ended without a verdict.
COULD_NOT_MEASURE: Final = 3


class CoilbenchError(Exception):
    """Base of every error raised on purpose; its text says what to do."""


class BenchFileError(CoilbenchError):
    """The bench file or a command's argument is wrong; the text lists every mistake with its line."""


class InstrumentError(CoilbenchError):
    """An instrument failed; pickles with all its parts.

    Parameters
    ----------
    instrument
        Name and address, as the bench file gives them.
    message
        What was expected, what came, what to do.
    command
        The command that was on the wire, if any.
    """

    def __init__(self, instrument: str, message: str, command: str | None = None) -> None:
        self.instrument = instrument
        self.message = message
        self.command = command
        super().__init__(instrument, message, command)

    def __str__(self) -> str:
        """Return one line: instrument, command, message."""
        sent = f" after '{self.command}'" if self.command else ""
        return f"{self.instrument}{sent}: {self.message}"


class ConnectionFailed(InstrumentError):  # noqa: N818 - reads as a statement at the bench
    """The instrument could not be opened."""


class ConnectionLost(InstrumentError):  # noqa: N818
    """The peer closed the link or vanished."""


class ReplyTimeout(InstrumentError):  # noqa: N818
    """No answer came before the deadline; the link must be cleared or reopened before use."""


class ProtocolError(InstrumentError):
    """The answer is not what the manual allows."""


class InstrumentFault(InstrumentError):  # noqa: N818
    """The instrument reports an error of its own; its text is kept verbatim."""


class LimitExceeded(InstrumentError):  # noqa: N818
    """A request beyond a safety limit was refused before it reached the wire."""


class AcquisitionError(CoilbenchError):
    """Receiving a scan failed; what was acquired before stays on disk."""


class DataLost(AcquisitionError):  # noqa: N818
    """Samples are missing at an unknown place; the affected windows are discarded."""


class TruncatedStream(AcquisitionError):  # noqa: N818
    """A raw stream ends inside a message; everything before it is whole."""


class StorageError(CoilbenchError):
    """The disk refused a write; what was acknowledged before is safe."""


class MeasurementError(CoilbenchError):
    """The data allow no statement (span too short, too little signal, ill-conditioned)."""


class RunAborted(CoilbenchError):  # noqa: N818
    """A person or a signal stopped the run; outputs are off."""
