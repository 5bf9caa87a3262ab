"""Tune/match boards and other things that move or bias."""
