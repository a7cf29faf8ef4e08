"""What jobs without a price beforehand hold and cost, summed apart; and the dearest of their classes, in one step."""

from __future__ import annotations

#: Which these are, their price class says (`jobs.UNPRICED`).
SQL = """
DROP TRIGGER attempts_hold;
DROP TRIGGER attempts_settle;
DROP TABLE spent;

CREATE INDEX attempts_dearest ON attempts (account, price_class, coalesce(final_credits, hold_credits))
    WHERE price_class GLOB '* unpriced';
CREATE TABLE spent (
    run_id INTEGER NOT NULL,
    campaign TEXT NOT NULL,
    day TEXT NOT NULL,
    allowance TEXT NOT NULL,
    unpriced INTEGER NOT NULL,
    held INTEGER NOT NULL,
    settled INTEGER NOT NULL,
    PRIMARY KEY (run_id, campaign, day, allowance, unpriced)
) STRICT;
CREATE INDEX spent_by_campaign ON spent (campaign);
CREATE INDEX spent_by_day ON spent (day);
CREATE INDEX spent_by_allowance ON spent (allowance);
INSERT INTO spent SELECT a.run_id, w.campaign, a.day, coalesce(a.allowance, ''), a.price_class GLOB '* unpriced',
    sum(CASE WHEN final_credits IS NULL THEN hold_credits ELSE 0 END), sum(coalesce(final_credits, 0))
    FROM attempts AS a JOIN wanted AS w ON w.id = a.job_id GROUP BY 1, 2, 3, 4, 5;

CREATE TRIGGER attempts_hold AFTER INSERT ON attempts BEGIN
    INSERT INTO spent
        SELECT NEW.run_id, campaign, NEW.day, coalesce(NEW.allowance, ''), NEW.price_class GLOB '* unpriced',
            NEW.hold_credits, 0
        FROM wanted WHERE id = NEW.job_id
        ON CONFLICT DO UPDATE SET held = held + excluded.held;
END;
CREATE TRIGGER attempts_settle AFTER UPDATE OF hold_credits, final_credits ON attempts BEGIN
    UPDATE spent SET
        held = held
            - CASE WHEN OLD.final_credits IS NULL THEN OLD.hold_credits ELSE 0 END
            + CASE WHEN NEW.final_credits IS NULL THEN NEW.hold_credits ELSE 0 END,
        settled = settled - coalesce(OLD.final_credits, 0) + coalesce(NEW.final_credits, 0)
    WHERE run_id = NEW.run_id AND day = NEW.day AND allowance = coalesce(NEW.allowance, '')
        AND unpriced = (NEW.price_class GLOB '* unpriced')
        AND campaign = (SELECT campaign FROM wanted WHERE id = NEW.job_id);
END;
"""
