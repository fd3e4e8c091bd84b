"""The simulator: the real member over a simulated disk, network and clock. Never shipped."""
