"""The best way to run a bundle on this machine, found by measuring."""
