"""Pure numerics of coils: resonance, tuning, noise from S-parameters, verdicts. Knows no instrument."""
