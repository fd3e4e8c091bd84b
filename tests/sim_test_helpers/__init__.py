"""What tests of the simulator share."""
