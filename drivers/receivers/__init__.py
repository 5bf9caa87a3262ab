"""Broadband receivers."""
