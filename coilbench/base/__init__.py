"""What every other package may import: errors, nuclei, units, events, clock. Imports numpy at most."""
