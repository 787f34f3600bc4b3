"""Fuzzing of the Python border, of files and of the kernel: see README.md beside this."""
