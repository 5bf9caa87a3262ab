"""What drivers log where they must not raise: ``make_safe`` says in the log what it could not switch off."""

from __future__ import annotations

import logging
import threading
from typing import Self


class Complaints(logging.Handler):
    """Collects what the present thread's drivers log as a warning or worse; a context manager."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []
        self._thread = threading.get_ident()

    def __enter__(self) -> Self:
        """Start collecting."""
        logging.getLogger("coilbench").addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop collecting."""
        logging.getLogger("coilbench").removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record's text if this thread logged it."""
        if record.thread == self._thread:
            self.texts.append(record.getMessage())
