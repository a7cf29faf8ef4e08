"""Claims of jobs by workers, by the database's clock, with epochs, and the fence before each paid request.

A claim is a row of its job for good: its epoch rises with each taking, so a worker that was stopped and comes back
holds a number that nobody answers to any more. `sent` is the attempt that may have been sent: set by the fence, in the
statement that lets a request out. So an intent that only waited for a slot is known not to be sent, be its worker dead.
"""

from __future__ import annotations

from batcher.events import Event
from batcher.jobs import Intent, JobId
from batcher.ledger.store.transaction import Transaction

_TAKE = (
    "INSERT INTO claims (job_id, epoch, worker, until)"
    " VALUES (?1, 1, ?2, clock_timestamp() + make_interval(secs => ?3))"
    " ON CONFLICT (job_id) DO UPDATE SET epoch = claims.epoch + 1, worker = excluded.worker, until = excluded.until"
    " WHERE claims.until <= clock_timestamp() RETURNING epoch"
)
_UNANSWERED = (
    "UPDATE attempts SET maybe_received = 1 WHERE maybe_received = 0 AND id = (SELECT w.attempt_id FROM wanted AS w"
    " JOIN claims AS c ON c.job_id = w.id AND c.sent = w.attempt_id WHERE w.id = ? AND w.status = 'submitting')"
    " RETURNING number"
)
#: The fence: whether a claim may send an intent now, by the database's clock; then it is written down that it may be
#: sent. The job is still submitting with this attempt, which has no task and is not closed, the claim is the newest one
#: and holds, and the key is younger than `seconds`; a stamp of the future (the clock was set back) says nothing of its
#: age: then nothing is sent. It is asked in the statement that takes the request's slots (`slots`).
FENCE = (
    "UPDATE claims AS c SET sent = a.id FROM wanted AS w JOIN attempts AS a ON a.id = w.attempt_id"
    " WHERE c.job_id = w.id AND w.id = %(job)s AND w.status = 'submitting' AND a.id = %(attempt)s"
    " AND a.task_id IS NULL AND a.final_credits IS NULL AND c.epoch = %(epoch)s AND c.worker = %(worker)s"
    " AND c.until > clock_timestamp()"
    " AND a.intended_at::timestamptz BETWEEN clock_timestamp() - make_interval(secs => %(seconds)s)"
    " AND clock_timestamp() + interval '5 seconds'"
)


def take(t: Transaction, job_id: JobId, worker: str, lease: float) -> int | None:
    """Claim a job for so many seconds: the claim's epoch, or None while another claim of it holds.

    What the claim before was allowed to send it may have sent, or be sending: such an attempt is maybe received, for
    good.
    """
    found = t.run(_TAKE, (job_id, worker, lease)).fetchone()
    if found is None:
        return None
    epoch = int(found[0])
    if epoch > 1 and (attempt := t.run(_UNANSWERED, (job_id,)).fetchone()):
        detail = {"code": "taken_over", "message": "another worker had this attempt, and its lease ran out"}
        t.event(Event.MAYBE_RECEIVED, job_id=job_id, attempt=attempt[0], detail=detail)
    return epoch


def holds(t: Transaction, intent: Intent, epoch: int) -> bool:
    """Whether this claim of an intent's job holds, and no sending of it may have arrived."""
    mine = (
        "SELECT 1 FROM claims AS c JOIN wanted AS w ON w.id = c.job_id JOIN attempts AS a ON a.id = w.attempt_id"
        " WHERE c.job_id = ? AND c.epoch = ? AND c.until > clock_timestamp() AND a.id = ? AND a.maybe_received = 0"
    )
    return bool(t.run(mine, (intent.job_id, epoch, intent.attempt_id)).fetchall())


def is_newest(t: Transaction, job_id: JobId, epoch: int) -> bool:
    """Whether nobody has claimed the job since."""
    return bool(t.run("SELECT 1 FROM claims WHERE job_id = ? AND epoch = ?", (job_id, epoch)).fetchall())


def release(t: Transaction, job_id: JobId, epoch: int) -> bool:
    """Give a claim back; whether it still was one."""
    gone = "UPDATE claims SET until = clock_timestamp() WHERE job_id = ? AND epoch = ? AND until > clock_timestamp()"
    return bool(t.run(gone, (job_id, epoch)).rowcount)
