"""What plays the sequence and triggers the receivers."""
