"""A random walk of two devices and their tabs."""
