"""Engines: providers that we start ourselves, and the model files that they run."""
