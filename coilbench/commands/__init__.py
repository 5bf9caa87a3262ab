"""The commands, one module for each subject; what they need of science they import when they run."""
