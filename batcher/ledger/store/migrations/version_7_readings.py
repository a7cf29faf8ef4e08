"""Readings of the wallet are asked for by account while a run works: an index of them alone."""

SQL = "CREATE INDEX events_of_wallet ON events (event) WHERE event = 'wallet_read';\n"
