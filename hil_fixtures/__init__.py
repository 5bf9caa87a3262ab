"""Simulated instruments on real wires, all driven by one physical model."""
