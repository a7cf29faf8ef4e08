"""What a ledger comes to: a read model of frozen values, and what is made of it. Reads only; prints nothing."""
