"""Tuning and matching all ports of an array from its sweeps: decisions only, no instrument."""
