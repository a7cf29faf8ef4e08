"""Reads for people: what commands and reports ask of the ledger. Nothing here writes."""
