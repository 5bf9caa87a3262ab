"""What every driver must keep, on simulators and on hardware."""
