"""batcher: a batch job runner for paid, asynchronous generation APIs."""

__version__ = "0.1.0"
