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

DROP VIEW jobs;
CREATE VIEW jobs AS
SELECT
    w.id, w.campaign, w.name, w.model, w.prompt, coalesce(a.params, w.params) AS params,
    w.reference, w.take, w.status,
    coalesce(a.number, 0) AS attempt, a.client_request_id, a.idempotency_key, a.task_id,
    a.quoted_credits, a.reserved_credits, a.hold_credits, a.final_credits,
    a.result_urls ->> '$[0]' AS result_url,
    CASE WHEN f.saved_at IS NOT NULL AND f.forgotten_at IS NULL
        AND f.target GLOB 'results/?*' AND instr('/' || f.target || '/', '/../') = 0 THEN f.target END AS result_path,
    CASE WHEN f.saved_at IS NOT NULL AND f.forgotten_at IS NULL THEN f.sha256 END AS result_sha256,
    coalesce(w.error_code, a.error_code) AS error_code,
    coalesce(w.error_message, a.error_message) AS error_message,
    w.created_at, a.submitted_at, a.finished_at, w.updated_at, w.position, w.price_class
FROM wanted AS w
LEFT JOIN attempts AS a ON a.id = w.attempt_id
LEFT JOIN files AS f ON f.attempt_id = a.id AND f.number = 0;
"""
