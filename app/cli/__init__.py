"""The command `fedpet`."""
