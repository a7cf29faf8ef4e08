"""What a sending without a definite answer came to: code and message apart, not in one text."""

SQL = """
UPDATE events
SET detail = json_object(
    'code', nullif(substr(detail ->> 'why', 1, instr(detail ->> 'why', ': ') - 1), ''),
    'message', substr(detail ->> 'why', iif(instr(detail ->> 'why', ': '), instr(detail ->> 'why', ': ') + 2, 1))
)
WHERE event = 'maybe_received' AND json_valid(detail) AND detail ->> 'why' IS NOT NULL;
"""
