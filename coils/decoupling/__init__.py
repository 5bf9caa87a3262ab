"""What couples the loops of an array, and what to do about it; knows no instrument."""
