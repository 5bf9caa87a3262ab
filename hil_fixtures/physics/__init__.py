"""The world: coil array, phantom, spins and noise. One model behind every simulated instrument."""
