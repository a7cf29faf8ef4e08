"""The soak: thousands of jobs against a hostile simulator, under SIGKILLs, and an audit from the simulator's own books.

    __main__   the command: both scenarios, the table, the exit code
    scenarios  what is asked of whom: manifests, hostility, sizes
    api        the simulator as a process: started, ordered about, killed, started again
    driver     `batcher run`, killed and run again until there is nothing left to do; the outages beside it
    truth      what the simulator has written down
    books      what the ledger says, read by plain SQLite
    audit      the two compared; `replay` holds every commit to the caps

The audit shares no code with batcher but the words of its tables.
"""
