BEGIN TRANSACTION;
CREATE TABLE [_sqlite_migrations] (
   [id] INTEGER PRIMARY KEY,
   [migration_set] TEXT,
   [name] TEXT,
   [applied_at] TEXT
);
INSERT INTO "_sqlite_migrations" VALUES(1,'batcher','version_1','2026-11-23 08:00:00');
INSERT INTO "_sqlite_migrations" VALUES(2,'batcher','version_1_shape','2026-11-29 08:35:13.984049+00:00');
INSERT INTO "_sqlite_migrations" VALUES(3,'batcher','version_2_hold','2026-11-29 08:35:14.009044+00:00');
INSERT INTO "_sqlite_migrations" VALUES(4,'batcher','version_3_place','2026-11-29 08:35:14.083636+00:00');
INSERT INTO "_sqlite_migrations" VALUES(5,'batcher','version_4_clock','2026-11-29 08:35:14.118598+00:00');
INSERT INTO "_sqlite_migrations" VALUES(6,'batcher','version_6_files','2026-11-29 08:35:14.151273+00:00');
INSERT INTO "_sqlite_migrations" VALUES(7,'batcher','version_7_readings','2026-11-29 08:35:14.185658+00:00');
INSERT INTO "_sqlite_migrations" VALUES(8,'batcher','version_8_said','2026-11-29 08:35:14.223117+00:00');
INSERT INTO "_sqlite_migrations" VALUES(9,'batcher','version_9_accounts','2026-11-29 08:35:14.252598+00:00');
INSERT INTO "_sqlite_migrations" VALUES(10,'batcher','version_10_references','2026-11-29 08:00:00');
CREATE TABLE accepted (
    trace TEXT PRIMARY KEY,
    at TEXT NOT NULL
) STRICT;
CREATE TABLE accounts (
    account TEXT PRIMARY KEY,
    provider TEXT NOT NULL,
    unit TEXT NOT NULL
) STRICT;
INSERT INTO "accounts" VALUES('https://api.test#0123456789ab','rivya','credits');
CREATE TABLE attempts (
    id INTEGER PRIMARY KEY,
    job_id TEXT NOT NULL REFERENCES wanted (id),
    number INTEGER NOT NULL,
    run_id INTEGER NOT NULL REFERENCES runs (id),
    account TEXT NOT NULL,
    day TEXT NOT NULL,
    price_class TEXT NOT NULL,
    idempotency_key TEXT NOT NULL UNIQUE,
    client_request_id TEXT NOT NULL,
    body BLOB NOT NULL,
    quoted_credits INTEGER NOT NULL CHECK (quoted_credits >= 0),
    reserved_credits INTEGER CHECK (reserved_credits >= 0),
    final_credits INTEGER CHECK (final_credits >= 0),
    maybe_received INTEGER NOT NULL DEFAULT 0 CHECK (maybe_received IN (0, 1)),
    task_id TEXT,
    api_status TEXT,
    result_urls TEXT NOT NULL DEFAULT '[]',
    outcome TEXT CHECK (outcome IN ('succeeded', 'failed', 'refused', 'doubtful', 'resolved')),
    error_code TEXT,
    error_message TEXT,
    intended_at TEXT NOT NULL,
    submitted_at TEXT,
    finished_at TEXT,
    unfinished_for REAL CHECK (unfinished_for >= 0), hold_credits INTEGER NOT NULL DEFAULT 0 CHECK (hold_credits >= 0), params TEXT, api_created_at TEXT, api_updated_at TEXT, boot_id TEXT, boot_seconds REAL, api_at TEXT, clock_jumped INTEGER NOT NULL DEFAULT 0 CHECK (clock_jumped IN (0, 1)),
    UNIQUE (job_id, number)
) STRICT;
INSERT INTO "attempts" VALUES(1,'00000000000000000000000000000001',1,1,'https://api.test#0123456789ab','2026-11-23','small','key-1','request-1',X'7B7D',10,10,12,0,'task_1','queued','["https://files.test/1.mp4"]','succeeded',NULL,NULL,'2026-11-23T08:00:00.000Z','2026-11-23T08:00:00.000Z','2026-11-24T08:00:00.000Z',NULL,10,NULL,NULL,NULL,NULL,NULL,NULL,0);
INSERT INTO "attempts" VALUES(2,'00000000000000000000000000000002',1,1,'https://api.test#0123456789ab','2026-11-23','small','key-2','request-2',X'7B7D',10,10,NULL,0,'task_2','queued','[]',NULL,NULL,NULL,'2026-11-23T08:00:00.000Z','2026-11-23T08:00:00.000Z',NULL,NULL,10,NULL,NULL,NULL,NULL,NULL,NULL,0);
CREATE TABLE campaigns (
    name TEXT PRIMARY KEY,
    manifest TEXT NOT NULL,
    expansion INTEGER NOT NULL DEFAULT 0,
    fingerprint TEXT,
    entries INTEGER NOT NULL DEFAULT 0,
    files INTEGER NOT NULL DEFAULT 0
) STRICT;
INSERT INTO "campaigns" VALUES('spring','/m.yaml',1,NULL,0,1);
CREATE TABLE events (
    id INTEGER PRIMARY KEY,
    at TEXT NOT NULL,
    run_id INTEGER,
    job_id TEXT,
    attempt INTEGER,
    event TEXT NOT NULL,
    detail TEXT NOT NULL DEFAULT '{}'
) STRICT;
INSERT INTO "events" VALUES(1,'2026-11-23T08:00:00.000Z',1,'00000000000000000000000000000001',1,'submitted','{}');
INSERT INTO "events" VALUES(2,'2026-11-23T08:00:00.000Z',1,'00000000000000000000000000000002',1,'submitted','{}');
CREATE TABLE files (
    attempt_id INTEGER NOT NULL REFERENCES attempts (id),
    number INTEGER NOT NULL,
    validator TEXT,
    target TEXT UNIQUE COLLATE NOCASE,
    sha256 TEXT,
    size INTEGER,
    saved_at TEXT, announced INTEGER CHECK (announced >= 0), unverified TEXT, unverified_sha256 TEXT, forgotten_at TEXT,
    PRIMARY KEY (attempt_id, number)
) STRICT;
INSERT INTO "files" VALUES(1,0,NULL,'results/spring/boat-1.mp4','cd',100,'2026-11-24T08:00:00.000Z',NULL,NULL,NULL,NULL);
CREATE TABLE inputs (
    campaign TEXT NOT NULL REFERENCES campaigns (name),
    kind TEXT NOT NULL CHECK (kind IN ('source', 'file', 'glob')),
    name TEXT NOT NULL,
    state TEXT NOT NULL,
    PRIMARY KEY (campaign, kind, name)
) STRICT;
CREATE TABLE meta (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    ledger_id TEXT NOT NULL,
    created_at TEXT NOT NULL
, place TEXT CHECK (place IN ('simulator', 'loopback', 'net')), timezone TEXT) STRICT;
INSERT INTO "meta" VALUES(1,'0000000000000000000000000000000a','2026-11-23T08:00:00.000Z','net',NULL);
CREATE TABLE runs (
    id INTEGER PRIMARY KEY,
    started_at TEXT NOT NULL,
    ended_at TEXT,
    exit_code INTEGER,
    reason TEXT,
    version TEXT NOT NULL,
    pid INTEGER NOT NULL,
    account TEXT NOT NULL,
    campaigns TEXT NOT NULL,
    settings TEXT NOT NULL
) STRICT;
INSERT INTO "runs" VALUES(1,'2026-11-23T08:00:00.000Z','2026-11-24T08:00:00.000Z',1,'some jobs are with the API','0.1.0',1,'https://api.test#0123456789ab','["spring"]','{}');
CREATE TABLE sends (
    id INTEGER PRIMARY KEY,
    at TEXT NOT NULL,
    kind TEXT NOT NULL
, boot_id TEXT, boot_seconds REAL, account TEXT) STRICT;
INSERT INTO "sends" VALUES(1,'2026-11-23T08:00:00.000Z','submit',NULL,NULL,NULL);
INSERT INTO "sends" VALUES(2,'2026-11-23T08:00:00.000Z','submit',NULL,NULL,NULL);
CREATE TABLE spent (
    run_id INTEGER NOT NULL,
    campaign TEXT NOT NULL,
    day TEXT NOT NULL,
    held INTEGER NOT NULL,
    settled INTEGER NOT NULL,
    PRIMARY KEY (run_id, campaign, day)
) STRICT;
INSERT INTO "spent" VALUES(1,'spring','2026-11-23',10,12);
CREATE TABLE uploads (
    account TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    url TEXT NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    mime TEXT NOT NULL,
    file_id TEXT,
    duration_token TEXT,
    duration_seconds REAL,
    uploaded_at TEXT NOT NULL,
    checked_at TEXT NOT NULL,
    PRIMARY KEY (account, sha256)
) STRICT;
INSERT INTO "uploads" VALUES('https://api.test#0123456789ab','ab','https://api.test/f','image','boat.png','image/png',NULL,NULL,NULL,'2026-11-23T08:00:00.000Z','2026-11-23T08:00:00.000Z');
CREATE TABLE wanted (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    campaign TEXT NOT NULL REFERENCES campaigns (name),
    name TEXT NOT NULL,
    model TEXT NOT NULL,
    prompt TEXT NOT NULL,
    params TEXT NOT NULL,
    reference TEXT,
    reference_kind TEXT,
    reference_sha256 TEXT,
    reference_size INTEGER,
    reference_mime TEXT,
    take INTEGER NOT NULL,
    price_class TEXT NOT NULL,
    catalog_credits INTEGER NOT NULL,
    file_name TEXT NOT NULL,
    expansion INTEGER NOT NULL,
    position INTEGER NOT NULL,
    status TEXT NOT NULL CHECK (status IN
        ('planned', 'submitting', 'queued', 'processing', 'succeeded', 'failed', 'doubtful', 'cancelled')),
    attempt_id INTEGER REFERENCES attempts (id),
    error_code TEXT,
    error_message TEXT,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL
, reference_list TEXT) STRICT;
INSERT INTO "wanted" VALUES(1,'00000000000000000000000000000001','spring','prompt-1','grok-imagine-video','Boat 1','{}',NULL,NULL,NULL,NULL,NULL,1,'small',10,'boat-1',1,0,'succeeded',1,NULL,NULL,'2026-11-23T08:00:00.000Z','2026-11-23T08:00:00.000Z',NULL);
INSERT INTO "wanted" VALUES(2,'00000000000000000000000000000002','spring','prompt-2','grok-imagine-video','Boat 2','{}',NULL,NULL,NULL,NULL,NULL,1,'small',10,'boat-2',1,1,'queued',2,NULL,NULL,'2026-11-23T08:00:00.000Z','2026-11-23T08:00:00.000Z',NULL);
INSERT INTO "wanted" VALUES(3,'00000000000000000000000000000003','spring','prompt-3','grok-imagine-video','Boat 3','{}',NULL,NULL,NULL,NULL,NULL,1,'small',10,'boat-3',1,2,'planned',NULL,NULL,NULL,'2026-11-23T08:00:00.000Z','2026-11-23T08:00:00.000Z',NULL);
CREATE INDEX wanted_by_position ON wanted (campaign, status, price_class, expansion, position);
CREATE INDEX wanted_unsettled ON wanted (campaign, seq) WHERE status IN ('submitting', 'queued', 'processing');
CREATE INDEX attempts_by_task ON attempts (task_id);
CREATE INDEX attempts_by_run ON attempts (run_id);
CREATE INDEX attempts_waited ON attempts (account, price_class, finished_at) WHERE unfinished_for IS NOT NULL;
CREATE INDEX events_by_job ON events (job_id) WHERE job_id IS NOT NULL;
CREATE INDEX sends_by_kind ON sends (kind, id);
CREATE UNIQUE INDEX [idx__sqlite_migrations_migration_set_name] ON [_sqlite_migrations] ([migration_set], [name]);
CREATE INDEX attempts_priced ON attempts (account, price_class, id) WHERE reserved_credits > 0;
CREATE INDEX attempts_answered ON attempts (account, price_class, submitted_at, reserved_credits)
    WHERE reserved_credits > 0;
CREATE INDEX attempts_taken ON attempts (account, price_class, id) WHERE outcome = 'succeeded' AND final_credits > 0;
CREATE INDEX attempts_ended ON attempts (account, price_class, outcome, finished_at, final_credits)
    WHERE final_credits > 0;
CREATE INDEX attempts_seen ON attempts (account, price_class)
    WHERE final_credits IS NOT NULL AND (outcome = 'succeeded' OR outcome = 'failed' AND final_credits > 0)
    OR reserved_credits > 0 AND reserved_credits >= quoted_credits;
CREATE INDEX attempts_held ON attempts (account, price_class, hold_credits) WHERE final_credits IS NULL;
CREATE INDEX attempts_open ON attempts (outcome, id) WHERE final_credits IS NULL;
CREATE TRIGGER attempts_hold AFTER INSERT ON attempts BEGIN
    INSERT INTO spent
        SELECT NEW.run_id, campaign, NEW.day, NEW.hold_credits, 0 FROM wanted WHERE id = NEW.job_id
        ON CONFLICT DO UPDATE SET held = held + excluded.held;
END;
CREATE TRIGGER attempts_settle AFTER UPDATE OF hold_credits, final_credits ON attempts BEGIN
    UPDATE spent SET
        held = held
            - CASE WHEN OLD.final_credits IS NULL THEN OLD.hold_credits ELSE 0 END
            + CASE WHEN NEW.final_credits IS NULL THEN NEW.hold_credits ELSE 0 END,
        settled = settled - coalesce(OLD.final_credits, 0) + coalesce(NEW.final_credits, 0)
    WHERE run_id = NEW.run_id AND day = NEW.day
        AND campaign = (SELECT campaign FROM wanted WHERE id = NEW.job_id);
END;
CREATE TRIGGER files_added AFTER INSERT ON files WHEN NEW.saved_at IS NOT NULL BEGIN
    UPDATE campaigns SET files = files + 1 WHERE name =
        (SELECT w.campaign FROM attempts AS a JOIN wanted AS w ON w.id = a.job_id WHERE a.id = NEW.attempt_id);
END;
CREATE TRIGGER files_saved AFTER UPDATE OF saved_at ON files BEGIN
    UPDATE campaigns SET files = files + (NEW.saved_at IS NOT NULL) - (OLD.saved_at IS NOT NULL) WHERE name =
        (SELECT w.campaign FROM attempts AS a JOIN wanted AS w ON w.id = a.job_id WHERE a.id = NEW.attempt_id);
END;
CREATE INDEX spent_by_campaign ON spent (campaign);
CREATE INDEX spent_by_day ON spent (day);
CREATE INDEX files_unsaved ON files (attempt_id) WHERE saved_at IS NULL AND forgotten_at IS NULL;
CREATE INDEX events_of_wallet ON events (event) WHERE event = 'wallet_read';
CREATE VIEW jobs AS
SELECT
    w.id, w.campaign, w.name, w.model, w.prompt, coalesce(a.params, w.params) AS params,
    w.reference,
    CASE
        WHEN w.reference_list IS NOT NULL
        THEN (SELECT json_group_array(e.value ->> 'reference') FROM json_each(w.reference_list) AS e)
        WHEN w.reference IS NOT NULL THEN json_array(w.reference)
    END AS "references",
    w.take, w.status,
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
COMMIT;
