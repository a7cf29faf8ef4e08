"""A job may be made from results of others: which these are, whether it waits for them, what a person says of files."""

from __future__ import annotations

#: `wanted.waiting` is null for a job without sources, else how many of them have no file (yet) that may be used.
#: `wanted.begun`: one of its sources was bought once. `attempts.used` says which file of each source went along, as
#: JSON by the source's id.
SQL = """
CREATE TABLE sources (
    job_id TEXT NOT NULL,
    position INTEGER NOT NULL,
    source_id TEXT NOT NULL,
    gate INTEGER NOT NULL,
    PRIMARY KEY (job_id, position)
) STRICT;
CREATE INDEX sources_by_source ON sources (source_id, job_id);
CREATE TABLE reviews (
    sha256 TEXT NOT NULL PRIMARY KEY,
    verdict TEXT NOT NULL CHECK (verdict IN ('approved', 'rejected')),
    at TEXT NOT NULL
) STRICT;
CREATE INDEX files_by_hash ON files (sha256) WHERE number = 0 AND sha256 IS NOT NULL;
ALTER TABLE wanted ADD COLUMN waiting INTEGER;
ALTER TABLE wanted ADD COLUMN begun INTEGER NOT NULL DEFAULT 0;
CREATE INDEX wanted_ready ON wanted (campaign, price_class, expansion, position)
    WHERE status = 'planned' AND waiting = 0;
CREATE INDEX wanted_begun ON wanted (campaign, expansion, position) WHERE status = 'planned' AND begun;
ALTER TABLE attempts ADD COLUMN used TEXT;

DROP VIEW jobs;
CREATE VIEW jobs AS
SELECT
    w.id, w.campaign, w.name, w.model, w.prompt, coalesce(a.params, w.params) AS params,
    CAST(CASE WHEN w.waiting IS NULL THEN w.reference ELSE coalesce(
        CASE WHEN w.reference GLOB 'result:*' THEN a.used ->> ('$."' || substr(w.reference, 8) || '".path') END,
        (SELECT g.target FROM wanted AS u JOIN files AS g ON g.attempt_id = u.attempt_id AND g.number = 0
            WHERE u.id = substr(w.reference, 8) AND u.status = 'succeeded'
            AND g.saved_at IS NOT NULL AND g.forgotten_at IS NULL),
        w.reference
    ) END AS TEXT) AS reference,
    CAST(CASE
        WHEN w.waiting IS NOT NULL
        THEN (SELECT json_group_array(coalesce(
                CASE WHEN (e.value ->> 'reference') GLOB 'result:*'
                    THEN a.used ->> ('$."' || substr((e.value ->> 'reference'), 8) || '".path') END,
                (SELECT g.target FROM wanted AS u JOIN files AS g ON g.attempt_id = u.attempt_id AND g.number = 0
                    WHERE u.id = substr((e.value ->> 'reference'), 8) AND u.status = 'succeeded'
                    AND g.saved_at IS NOT NULL AND g.forgotten_at IS NULL),
                e.value ->> 'reference'))
            FROM json_each(coalesce(w.reference_list, json_array(json_object('reference', w.reference)))) AS e)
        WHEN w.reference_list IS NOT NULL
        THEN (SELECT json_group_array(e.value ->> 'reference') FROM json_each(w.reference_list) AS e)
        WHEN w.reference IS NOT NULL THEN json_array(w.reference)
        ELSE '[]'
    END AS TEXT) AS "references",
    CAST(CASE WHEN w.status = 'planned' AND w.waiting > 0
        THEN (SELECT json_group_array(s.source_id) FROM sources AS s LEFT JOIN wanted AS u ON u.id = s.source_id
            LEFT JOIN files AS g ON g.attempt_id = u.attempt_id AND g.number = 0 AND u.status = 'succeeded'
            LEFT JOIN reviews AS r ON r.sha256 = g.sha256 WHERE s.job_id = w.id AND NOT (g.saved_at IS NOT NULL
                AND g.forgotten_at IS NULL AND (s.gate = 0 OR coalesce(r.verdict, '') = 'approved')))
    END AS TEXT) AS waiting_for,
    w.vars, w.tags,
    w.take, w.status,
    coalesce(a.number, 0) AS attempt, a.client_request_id, a.idempotency_key, a.task_id,
    a.quoted_credits, a.reserved_credits, a.hold_credits, a.final_credits,
    a.result_urls ->> '$[0]' AS result_url,
    CASE WHEN f.saved_at IS NOT NULL AND f.forgotten_at IS NULL
        AND f.target GLOB 'results/?*' AND instr('/' || f.target || '/', '/../') = 0 THEN f.target END AS result_path,
    CASE WHEN f.saved_at IS NOT NULL AND f.forgotten_at IS NULL THEN f.sha256 END AS result_sha256,
    CASE WHEN f.saved_at IS NOT NULL AND f.forgotten_at IS NULL THEN f.differs END AS differs,
    coalesce(w.error_code, a.error_code) AS error_code,
    coalesce(w.error_message, a.error_message) AS error_message,
    w.created_at, a.submitted_at, a.finished_at, w.updated_at, w.position, w.price_class
FROM wanted AS w
LEFT JOIN attempts AS a ON a.id = w.attempt_id
LEFT JOIN files AS f ON f.attempt_id = a.id AND f.number = 0;
"""
