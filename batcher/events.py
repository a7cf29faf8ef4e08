"""What the ledger writes down of each change: the names in `events.event`, and what their `detail` holds.

A status's own name stands for the move to it ({code, message} where there is trouble).
"""

from __future__ import annotations

from enum import StrEnum


class Event(StrEnum):
    """One for each kind of change; its row is written in the transaction of the change."""

    # Of a run as a whole
    RUN_STARTED = "run_started"  # {version, campaigns}
    RUN_ENDED = "run_ended"  # {exit_code, reason, left}
    HALTED = "halted"  # {kind, reason, code, message}: no new job is started; `reason` is code and message
    CAP_REACHED = "cap_reached"  # {cap, message}
    CANARY = "canary"  # {step, of, went_on, message}: a step was judged
    COMMANDED = "commanded"  # {command, who, set: {what: [was, now]}, message}: by a person, of the run that goes on
    COMMANDS_KEPT = "commands_kept"  # {state, message}: of a run that was cut off, taken over by the next
    OUTAGE_BEGAN = "outage_began"  # {of: api or creates, cause, message}
    OUTAGE_ENDED = "outage_ended"  # {of, seconds}
    LIMIT_CUT = "limit_cut"  # {limit, per_minute, retry_after}
    LIMIT_RESTORED = "limit_restored"  # {limit}
    LOOKED = "looked"  # {of: wallet, models, manifest or window, message}
    WALLET_READ = "wallet_read"  # {account, credits, counted, mark, most}
    WALLET_ODD = "wallet_odd"  # {what, message}
    OLD_LEDGER_ACCEPTED = "old_ledger_accepted"  # {traces, first}
    UPLOADED = "uploaded"  # {sha256, name}

    # Of a purchase
    PLANNED = "planned"  # wanted
    INTENDED = "intended"  # {hold}: on disk, not sent
    MAYBE_RECEIVED = "maybe_received"  # {code, message}: of a sending without a definite answer
    QUEUED = "queued"
    PROCESSING = "processing"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    DOUBTFUL = "doubtful"
    REFUSED = "refused"  # closed at no cost; {to: planned} where the job is bought again
    LATE_ANSWER = "late_answer"
    UNKNOWN_STATE = "unknown_state"  # {word}
    MODEL_DIFFERS = "model_differs"  # {asked, said}
    PRICE_ROSE = "price_rose"  # {expected, taken}
    HOLDS_RAISED = "holds_raised"  # {attempts, credits}
    SETTLED = "settled"  # {credits}
    FINAL_CHANGED = "final_changed"  # {was, now}
    FINAL_IGNORED = "final_ignored"  # {charged, said}
    FINAL_UNKNOWN = "final_unknown"  # {credits}: settled at its hold

    # Of a job's files
    SAVED = "saved"  # {number}
    UNVERIFIED = "unverified"  # {number, path, why}
    ODD_FILE = "odd_file"  # {number, why}
    FILE_DIFFERS = "file_differs"  # {number, differs: [{of, wanted, found}]}: it is not what was asked for
    RESTORED = "restored"  # {number, path}
    ACCEPTED = "accepted"  # {number, path}
    FORGOTTEN = "forgotten"  # {files}
    WANTED_AGAIN = "wanted_again"  # {files}

    # Decided by a person, or by the manifest
    RETRIED = "retried"
    RESOLVED = "resolved"  # {as, task_id or charged}
    REVIEWED = "reviewed"  # {verdict, sha256}: of a file that others are made from
    CANCELLED = "cancelled"  # {code}


class OwnHalt(StrEnum):
    """The code of a halt that is batcher's own; any other code is the API's."""

    MANIFEST_CHANGED = "manifest_changed"
    DOWNLOADS_BLOCKED = "downloads_blocked"
    CANARY = "canary"
