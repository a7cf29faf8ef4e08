"""Purchases of one account and price class share a number, which indexes hold in place of both texts: a fifth of a
ledger's bytes. It is the id of the first of them, which is found by the texts."""

from __future__ import annotations

SQL = """
ALTER TABLE attempts ADD COLUMN class_id INTEGER;
UPDATE attempts SET class_id = firsts.id FROM
    (SELECT account, price_class, min(id) AS id FROM attempts GROUP BY account, price_class) AS firsts
    WHERE firsts.account = attempts.account AND firsts.price_class = attempts.price_class;
CREATE INDEX attempts_classes ON attempts (account, price_class) WHERE class_id = id;
DROP INDEX attempts_waited;
DROP INDEX attempts_priced;
DROP INDEX attempts_answered;
DROP INDEX attempts_taken;
DROP INDEX attempts_ended;
DROP INDEX attempts_seen;
DROP INDEX attempts_held;
DROP INDEX attempts_dearest;
CREATE INDEX attempts_waited ON attempts (class_id, finished_at) WHERE unfinished_for IS NOT NULL;
CREATE INDEX attempts_priced ON attempts (class_id, id) WHERE reserved_credits > 0;
CREATE INDEX attempts_answered ON attempts (class_id, submitted_at, reserved_credits) WHERE reserved_credits > 0;
CREATE INDEX attempts_taken ON attempts (class_id, id) WHERE outcome = 'succeeded' AND final_credits > 0;
CREATE INDEX attempts_ended ON attempts (class_id, outcome, finished_at, final_credits) WHERE final_credits > 0;
CREATE INDEX attempts_seen ON attempts (class_id)
    WHERE final_credits IS NOT NULL AND (outcome = 'succeeded' OR outcome = 'failed' AND final_credits > 0)
    OR reserved_credits > 0 AND reserved_credits >= quoted_credits;
CREATE INDEX attempts_held ON attempts (class_id, hold_credits) WHERE final_credits IS NULL;
CREATE INDEX attempts_dearest ON attempts (class_id, coalesce(final_credits, hold_credits))
    WHERE price_class GLOB '* unpriced';
"""
