"""A job keeps its variables and tags, to group and filter by."""

from __future__ import annotations

#: JSON objects, empty where an older version of batcher has planned the job: the next expansion fills them in.
SQL = """
ALTER TABLE wanted ADD COLUMN vars TEXT NOT NULL DEFAULT '{}';
ALTER TABLE wanted ADD COLUMN tags TEXT NOT NULL DEFAULT '{}';

DROP VIEW jobs;
CREATE VIEW jobs AS
SELECT
    w.id, w.campaign, w.name, w.model, w.prompt, coalesce(a.params, w.params) AS params,
    w.reference,
    CAST(CASE
        WHEN w.reference_list IS NOT NULL
        THEN (SELECT json_group_array(e.value ->> 'reference') FROM json_each(w.reference_list) AS e)
        WHEN w.reference IS NOT NULL THEN json_array(w.reference)
        ELSE '[]'
    END AS TEXT) AS "references",
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
