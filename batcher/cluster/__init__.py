"""Many machines, one ledger: the ledger on PostgreSQL, and the engine that shares its jobs out (the extra `cluster`).

The only importer of psycopg and procrastinate; nobody else imports this room but the command line, and only when
`BATCHER_LEDGER` names a database.
"""
