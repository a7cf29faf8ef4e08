"""The composition root: argv, environment, key, lock, signals, printing, exit codes.

app          the commands, loaded when they are called; errors become messages and exit codes
commands/    one module a command
terminal     the only place that prints; `text` makes outside texts fit for it
environment  key and base URL
prepare      manifests → plan; `planview` shows one
session      one run: lock, ledger, provider, engine, signals; `simulated` its simulator
deciding     what `retry`, `resolve` and `cancel` share; `doubtful` names the jobs that need a decision
checks       what `doctor` looks at; `probe` tries out a disk
progress     what a run has come to so far; `display` shows it while it runs, `summary` at the end
"""
