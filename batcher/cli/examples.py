"""An example or two of each command, which its `--help` ends with."""

from __future__ import annotations

#: What is typed, and what it does.
EXAMPLES: dict[str, tuple[tuple[str, str], ...]] = {
    "init": (("batcher init spring", "a manifest to begin with, in the folder spring"),),
    "validate": (("batcher validate *.yaml", "every error of all of them"),),
    "plan": (
        ("batcher plan campaign.yaml", "what a run would buy, and what that costs"),
        ("batcher plan campaign.yaml --jobs --rows 20", "the first twenty jobs, with text and price"),
        ("batcher plan campaign.yaml --fail-over 500", "exit 3 if it costs more, for a review in CI"),
        ("batcher plan campaign.yaml --out plan.json", "save it: `batcher run plan.json` buys just that"),
    ),
    "run": (
        ("batcher run campaign.yaml --simulate", "try it: no key, no cost"),
        ("batcher run campaign.yaml --limit 10", "buy ten of its jobs"),
        ("batcher run *.yaml --until 07:00", "buy through the night; the same command goes on"),
    ),
    "worker": (("batcher worker --concurrency 100", "on each machine; BATCHER_LEDGER names the database"),),
    "fetch": (
        ("batcher fetch", "bring home all that is bought"),
        ("batcher fetch spring --forget", "what of it is missing is not wanted any more"),
    ),
    "status": (("batcher status", "how every campaign stands"),),
    "jobs": (("batcher jobs --campaign spring --status failed", "what failed, and why"),),
    "show": (("batcher show 3f9a", "all about the job whose id begins so"),),
    "claim": (("batcher claim 3f9a > claim.txt", "what the API's support asks for about it"),),
    "retry": (("batcher retry spring", "the next run buys again what failed of it"),),
    "resolve": (
        ("batcher resolve 3f9a --as submitted --task task_123", "the API has it, as this task"),
        ("batcher resolve 3f9a --as failed", "it came to nothing, and cost nothing"),
    ),
    "approve": (
        ("batcher approve story --name 'still*'", "what waits for these stills is made from them"),
        ("batcher approve story --marked marks.json", "those that are favourites in the gallery"),
    ),
    "reject": (("batcher reject 3f9a", "nothing is made from this one"),),
    "cancel": (("batcher cancel spring", "send nothing more of it"),),
    "ctl": (
        ("batcher ctl pause", "no new job starts; `batcher ctl resume` goes on"),
        ("batcher ctl limits submit=60/minute in_flight=40", "other limits, for this run"),
        ("batcher ctl budget run=800 --yes", "this run may take 800 credits"),
        ("batcher ctl drain", "finish what is under way, and end"),
    ),
    "report": (
        ("batcher report --by campaign,duration", "what it cost, by campaign and duration"),
        ("batcher report --timeline", "what happened in the night"),
        ("batcher report --html report.html", "a page with charts and the results"),
        ("batcher report --bundle al-noor.zip --where client=al-noor", "gallery and files for a client"),
        ("batcher report --invoice --price 0.02 --currency EUR --by client", "what it comes to, as money"),
    ),
    "watch": (("batcher watch", "the run that goes on elsewhere, live"),),
    "listen": (("batcher listen --port 8790", "for a tunnel that the API's webhooks come through"),),
    "mcp": (("batcher mcp --state state", "what an agent's configuration starts"),),
    "export": (("batcher export jobs --format csv --output jobs.csv", "every job as a row"),),
    "results": (("batcher results spring | xargs -d '\\n' cp -t out", "copy its files"),),
    "models": (
        ("batcher models grok-imagine-video", "its params, their values and prices"),
        ("batcher models --sync", "what the API says of its models by now"),
    ),
    "credits": (("batcher credits", "the wallet beside the ledger's sums"),),
    "cluster": (
        ("batcher cluster init", "make the ledger's tables where BATCHER_LEDGER says"),
        ("batcher cluster import state/ledger.db", "move a SQLite ledger there, with its keys"),
    ),
    "doctor": (("batcher doctor --online", "is everything in order, the API's side too?"),),
    "schema": (("batcher schema > manifest.schema.json", "help while you type, in editors"),),
    "simulator": (("batcher simulator --port 8000 --fail-rate 0.1", "one in ten tasks fails"),),
    "help": (("batcher help run", "the same as `batcher run --help`"),),
}


def epilog(name: str) -> str:
    """The examples of a command as click shows them: a line each, as they stand."""
    examples = EXAMPLES[name]
    width = max(len(typed) for typed, _ in examples)
    lines = [f"  {typed:<{width}}  # {does}" for typed, does in examples]
    return "\n".join(["\b", "Examples:" if len(lines) > 1 else "Example:", *lines])
