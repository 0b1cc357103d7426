"""The wire formats, pure and in both directions: no I/O, no clock, no state but their own."""
