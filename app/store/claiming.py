"""The statement that claims operations: which may run now, and which go first where slots are scarce."""

from __future__ import annotations

from sqlalchemy import ARRAY, Integer, Text, bindparam, text

from app.store.operations import COLUMNS

# statement_timestamp(), because now() may lie before the wait for the lock, and because it is stable, so
# that indexes serve. States are literals: a parameter would keep the planner from the partial indexes.
#
# An operation that lost its worker had its keys to itself, and goes on before any other. A queued operation
# waits for all running operations that share one of its keys, and for all that were accepted earlier, even
# for those that wait for a retry. One pass over all live operations with keys finds the waiting ones. A
# search for each candidate, by the index on the keys, took a fifth of a second when two thousand waited for
# one key; NOT EXISTS became a nested loop of ten thousands until the table was analyzed. NOT IN is hashed.
#
# Operations that ask the same registries share a bulkhead. A bulkhead has at most its limit of a worker's
# slots, and no more than it leaves free: however many operations wait for a registry that does not answer,
# the others find slots. The claim picks few operations by their position in the bulkhead, and locks them by
# id; it checks them again then, because they may have changed since.
#
# Some kinds share a capacity pool: addresses that callers choose freely could fill any number of bulkheads,
# so the pool bounds all of them together. It counts the operations that find a slot in their bulkheads, and
# the slots that such a bulkhead leaves free are those of its pool.
#
# Projects alternate, among operations of the same priority: first for the slots of a bulkhead, then for
# those of the worker. The running operations of a project count, in whichever worker, so a free slot goes to
# the project that runs fewest. The order of earlier claims is not stored: where more projects wait than
# there are slots, age decides among those that run equally many.
#
# On ten thousand queued operations of ten projects the alternation costs 20 ms of 65: two more sorts.
CLAIM = text(f"""
    WITH closed AS (
        SELECT coalesce(array_agg(registry), '{{}}') AS registries FROM registry_budgets
        WHERE blocked_until > statement_timestamp()
    ), pooled AS (
        SELECT kind, pool, slots FROM unnest(:pooled_kinds, :pools, :pool_slots) AS pooled (kind, pool, slots)
    ), lost AS (
        SELECT id, kind FROM operations
        WHERE state = 'running' AND lease_until < statement_timestamp() AND NOT cancel_requested
          AND lost + 1 < :max_lost AND deadline_at > statement_timestamp() AND kind = ANY(:kinds)
          AND NOT registries && (SELECT registries FROM closed)
          AND kind NOT IN (SELECT kind FROM pooled WHERE slots <= 0)
        ORDER BY priority, sequence LIMIT :slots
        FOR UPDATE SKIP LOCKED
    ), available AS (
        SELECT kind, pool, slots, slots - (
            SELECT count(*) FROM lost JOIN pooled AS same USING (kind) WHERE same.pool = pooled.pool
        ) AS slots_left
        FROM pooled
    ), keyed AS (
        SELECT id, sequence > min(sequence) OVER same OR bool_or(state = 'running') OVER same AS waits
        FROM operations CROSS JOIN unnest(keys) AS key
        WHERE state IN ('queued', 'running') AND keys <> '{{}}'
        WINDOW same AS (PARTITION BY key COLLATE "C")
    ), eligible AS (
        SELECT id, kind, priority, sequence, registries, project_id, 0 AS running
        FROM operations
        WHERE state = 'queued' AND run_at <= statement_timestamp()
          AND deadline_at > statement_timestamp() AND kind = ANY(:kinds)
          AND id NOT IN (SELECT id FROM keyed WHERE waits)
          AND NOT registries && (SELECT registries FROM closed)
        UNION ALL
        SELECT id, kind, priority, sequence, registries, project_id, 1
        FROM operations WHERE state = 'running'
    ), ranked AS (
        SELECT *, sum(running) OVER (PARTITION BY project_id) AS before, row_number() OVER (
            PARTITION BY project_id, registries ORDER BY running DESC, priority, sequence
        ) AS rank
        FROM eligible
    ), ready AS (
        SELECT *, row_number() OVER (PARTITION BY registries ORDER BY priority, rank, sequence) AS nth
        FROM ranked WHERE running = 0
    ), fitting AS (
        SELECT id, pool, slots_left, priority, sequence,
            before + row_number() OVER (PARTITION BY project_id ORDER BY priority, rank, sequence) AS rank
        FROM ready LEFT JOIN available USING (kind)
        LEFT JOIN unnest(:bulkheads, :running) AS busy (bulkhead, occupied)
            ON busy.bulkhead = array_to_string(ready.registries, ' ')
        WHERE registries = '{{}}' OR nth + coalesce(occupied, 0)
            <= least(:bulkhead_limit, (coalesce(occupied, 0) + 1 + least(:slots, available.slots)) / 2)
    ), fair AS (
        SELECT *, row_number() OVER (PARTITION BY pool ORDER BY priority, rank, sequence) AS nth
        FROM fitting
    ), picked AS MATERIALIZED (
        SELECT id FROM fair
        WHERE pool IS NULL OR nth <= slots_left
        ORDER BY priority, rank, sequence LIMIT :slots - (SELECT count(*) FROM lost)
    ), fresh AS (
        SELECT id FROM operations
        WHERE id = ANY(ARRAY(SELECT id FROM picked)) AND state = 'queued'
        ORDER BY priority, sequence
        FOR UPDATE SKIP LOCKED
    ), taken AS (
        SELECT id FROM lost UNION ALL SELECT id FROM fresh
    ), claimed AS (
        UPDATE operations
        SET state = 'running', attempt = attempt + 1, worker = :worker,
            lost = lost + CASE WHEN state = 'running' THEN 1 ELSE 0 END,
            lease_until = clock_timestamp() + :lease, started_at = coalesce(started_at, clock_timestamp())
        FROM taken WHERE operations.id = taken.id
        RETURNING {COLUMNS}
    ), recorded AS (
        INSERT INTO operation_events (operation_id, kind, data)
        SELECT id, state, json_build_object('state', state, 'attempt', attempt, 'progress', progress)
        FROM claimed
    )
    SELECT *, attempt - excused AS counted, deadline_at - clock_timestamp() AS time_left,
        pg_notify(:changed, CAST(id AS text))
    FROM claimed
""").bindparams(  # noqa: S608 - constants of this module alone
    bindparam("kinds", type_=ARRAY(Text)),
    bindparam("bulkheads", type_=ARRAY(Text)),
    bindparam("running", type_=ARRAY(Integer)),
    bindparam("slots", type_=Integer),
    bindparam("bulkhead_limit", type_=Integer),
    bindparam("pooled_kinds", type_=ARRAY(Text)),
    bindparam("pools", type_=ARRAY(Integer)),
    bindparam("pool_slots", type_=ARRAY(Integer)),
    bindparam("changed", type_=Text),
)
