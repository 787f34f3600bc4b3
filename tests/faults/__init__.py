"""Faults of the system, one at each system call under the output folder, and what is left."""
