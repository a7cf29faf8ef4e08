"""The second version: the hold is stored, for it is more than its row can tell: the class's newest final raises it too.

An open hold is taken at its largest, a settled one stays what it was. Beside it stand what an attempt was asked for,
and when the API says that it made and last changed the task.
"""

from __future__ import annotations

SQL = """
DROP TRIGGER attempts_hold;
DROP TRIGGER attempts_settle;
DROP INDEX attempts_priced;
DROP INDEX attempts_answered;
DROP INDEX attempts_taken;
DROP INDEX attempts_unpriced;
DROP INDEX attempts_held;

ALTER TABLE attempts ADD COLUMN hold_credits INTEGER NOT NULL DEFAULT 0 CHECK (hold_credits >= 0);
ALTER TABLE attempts ADD COLUMN params TEXT;
ALTER TABLE attempts ADD COLUMN api_created_at TEXT;
ALTER TABLE attempts ADD COLUMN api_updated_at TEXT;
UPDATE attempts SET hold_credits = CASE WHEN final_credits IS NULL
    THEN max(quoted_credits, coalesce(reserved_credits, 0)) ELSE coalesce(reserved_credits, quoted_credits) END;
DELETE FROM spent;
INSERT INTO spent SELECT a.run_id, w.campaign, a.day,
    sum(CASE WHEN final_credits IS NULL THEN hold_credits ELSE 0 END), sum(coalesce(final_credits, 0))
    FROM attempts AS a JOIN wanted AS w ON w.id = a.job_id GROUP BY a.run_id, w.campaign, a.day;

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
"""
