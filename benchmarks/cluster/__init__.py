"""Many workers, one ledger in PostgreSQL: what chaos does to it, how much of a limit is used, and what it costs.

    python -m benchmarks.cluster [NAME …] [--short]

Each worker is a process in a network of its own (`machines`), so that it can be cut off as a machine can.
"""
