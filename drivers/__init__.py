"""Instruments on real wires: links, command languages, drivers. Plain blocking calls."""
