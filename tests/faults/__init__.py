"""Harm done for real: processes killed, files cut, disks full. `make faults` runs all of it."""
