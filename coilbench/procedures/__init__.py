"""What the bench does: tune, characterise, scan; each tells its events and returns a frozen result."""
