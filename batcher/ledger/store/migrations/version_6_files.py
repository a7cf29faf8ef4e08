"""What the ledger knows of a file beyond its name: the announced length, an unverified copy, that nobody wants it."""

#: `announced` is the length that was stated when a download began, in bytes; it holds over a resume. `unverified` names
#: (relative to the state folder) what came and could not be shown to be whole, with its hash. `forgotten_at` is when a
#: person said that the file is not wanted any more. A target that leads out of `results/` is shown nowhere.
SQL = """
ALTER TABLE files ADD COLUMN announced INTEGER CHECK (announced >= 0);
ALTER TABLE files ADD COLUMN unverified TEXT;
ALTER TABLE files ADD COLUMN unverified_sha256 TEXT;
ALTER TABLE files ADD COLUMN forgotten_at TEXT;

DROP INDEX files_unsaved;
CREATE INDEX files_unsaved ON files (attempt_id) WHERE saved_at IS NULL AND forgotten_at IS NULL;
"""
