"""A cluster of cores whose every delivery, sync and loss is a command of the test."""
