"""The command line: argv, environment, key, places, signals, printing, exit codes.

app          the commands, loaded when they are called; errors become messages and exit codes
commands/    one module a command
terminal     the only place that prints; `console` where Rich is needed
environment  key and base URL
plan_view    a plan for people; `left_behind` what it leaves alone
session      `batcher.run` on a terminal: display and signals
job_actions  what `retry`, `resolve` and `cancel` share; `doubtful` names the jobs that need a decision
checks       what `doctor` looks at; `probe` tries out a disk
progress     what a run has come to so far; `display` shows it while it runs, `summary` at the end
"""
