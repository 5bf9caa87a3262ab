"""Simulated instruments: servers on TCP, HiSLIP and serial lines, written from the makers' manuals."""
