"""The statement that claims operations: which may run now, and which go first where slots are scarce."""

from __future__ import annotations

from sqlalchemy import ARRAY, Double, Integer, Text, Uuid, bindparam, text

from app.store.operations import COLUMNS

# The statement uses statement_timestamp(): now() may predate the wait for the lock, and clock_timestamp() is
# volatile, which rules out indexes. States are literals: with a parameter, the planner can't use the partial
# indexes.
#
# An operation that lost its worker held its keys exclusively, and resumes before any other. A queued
# operation waits for all running operations of its project that share one of its keys. It also waits for all
# such operations that were accepted earlier, including those that wait for a retry. It never waits for
# another project's queue: pushes of one tag by several projects exclude each other only while the tag moves
# (store/tag_leases.py). One pass over all live operations with keys finds the first operation of each key. An
# operation may run if it is the first for all of its keys. A search for each candidate, by the index on the
# keys, took a fifth of a second when two thousand operations waited for one key. NOT EXISTS became a nested
# loop over tens of thousands of rows until the table was analyzed. IN is hashed.
#
# Operations that ask the same registries share a bulkhead. A bulkhead has at most its limit of a worker's
# slots, and a claim takes no more than the bulkhead has free. So operations that wait for an unresponsive
# registry, in any number, leave slots for the others. The claim picks a few operations by their position in
# the bulkhead, and locks them by id. It then checks them again, because they may have changed since.
#
# Some kinds share a capacity pool: addresses that callers choose freely could fill any number of bulkheads,
# so the pool limits all of them together. The pool counts the operations that find a slot in their bulkheads.
# The free slots of such a bulkhead are those of its pool.
#
# Projects alternate, among operations of the same priority: first for the slots of a bulkhead, then for
# those of the worker. A project's running operations count in every worker, so a free slot goes to the
# project with the fewest. The order of earlier claims is not stored. If more projects wait than there are
# slots, age decides between projects with equally many running operations.
#
# A project has at most its share of a worker's slots, and of a bulkhead's slots. Each worker leaves the rest
# to other projects, and so do all workers together. A small bulkhead reserves nothing for others, because
# one project may be its only user.
#
# No claim takes more operations of one project, bulkhead and pool than the worker has slots. The first sort
# drops the rest, so that ten thousand queued operations are sorted only once.
CLAIM = text(f"""
    WITH closed AS (
        SELECT coalesce(array_agg(registry), '{{}}') AS registries FROM registry_budgets
        WHERE blocked_until > statement_timestamp()
    ), pooled AS (
        SELECT kind, pool, slots FROM unnest(:pooled_kinds, :pools, :pool_slots) AS pooled (kind, pool, slots)
    ), held AS (
        SELECT * FROM unnest(:holders, :held_bulkheads, :held) AS held (project_id, bulkhead, running)
    ), holding AS (
        SELECT project_id, sum(running) AS running FROM held GROUP BY project_id
    ), lost AS (
        SELECT id, kind FROM operations
        WHERE state = 'running' AND lease_until < statement_timestamp() AND NOT cancel_requested
          AND lost + 1 < :max_lost AND deadline_at > statement_timestamp() AND kind = ANY(:kinds)
          AND NOT registries && (SELECT registries FROM closed)
          AND kind NOT IN (SELECT kind FROM pooled WHERE slots <= 0)
        ORDER BY priority, sequence LIMIT :slots
        FOR UPDATE SKIP LOCKED
    ), available AS (
        SELECT pool, min(slots) - count(lost.id) AS slots_left
        FROM pooled LEFT JOIN lost USING (kind) GROUP BY pool
    ), firsts AS (
        SELECT min(sequence) AS sequence, bool_or(state = 'running') AS is_busy
        FROM operations CROSS JOIN unnest(keys) AS key
        WHERE state IN ('queued', 'running') AND keys <> '{{}}'
        GROUP BY project_id, key COLLATE "C"
    ), running AS (
        SELECT project_id, array_to_string(registries, ' ') COLLATE "C" AS bulkhead
        FROM operations WHERE state = 'running'
    ), running_in_project AS (
        SELECT project_id, count(*) AS running FROM running GROUP BY project_id
    ), running_in_bulkhead AS (
        SELECT project_id, bulkhead, count(*) AS running FROM running GROUP BY project_id, bulkhead
    ), eligible AS (
        SELECT id, pool, slots, priority, sequence, project_id,
            array_to_string(registries, ' ') COLLATE "C" AS bulkhead
        FROM operations LEFT JOIN pooled USING (kind)
        WHERE state = 'queued' AND run_at <= statement_timestamp()
          AND deadline_at > statement_timestamp() AND kind = ANY(:kinds)
          AND (keys = '{{}}' OR (sequence, cardinality(keys)) IN (
              SELECT sequence, count(*) FROM firsts WHERE NOT is_busy GROUP BY sequence
          ))
          AND NOT registries && (SELECT registries FROM closed)
    ), ranked AS (
        SELECT *, row_number() OVER (
            PARTITION BY project_id, bulkhead, pool ORDER BY priority, sequence
        ) AS nth
        FROM eligible
    ), few AS (
        SELECT ranked.*, coalesce(working.running, 0) AS before,
            nth + coalesce(working_here.running, 0) AS rank
        FROM ranked LEFT JOIN running_in_project AS working USING (project_id)
        LEFT JOIN running_in_bulkhead AS working_here USING (project_id, bulkhead)
        WHERE nth <= :slots
    ), ready AS (
        SELECT few.*, coalesce(occupied, 0) AS occupied, coalesce(held.running, 0) AS own,
            row_number() OVER (PARTITION BY bulkhead ORDER BY priority, rank, sequence) AS place,
            least(:bulkhead_limit, (coalesce(occupied, 0) + 1 + least(:slots, slots)) / 2) AS bulkhead_slots
        FROM few LEFT JOIN unnest(:bulkheads, :running) AS busy (bulkhead, occupied) USING (bulkhead)
        LEFT JOIN held USING (project_id, bulkhead)
    ), fitting AS (
        SELECT id, pool, priority, sequence, project_id,
            before + row_number() OVER (PARTITION BY project_id ORDER BY priority, rank, sequence) AS rank
        FROM ready
        WHERE bulkhead = '' OR (
            place + occupied <= bulkhead_slots
            AND nth + own <= ceil(:project_share * bulkhead_slots)
        )
    ), pooling AS (
        SELECT *, row_number() OVER (PARTITION BY pool ORDER BY priority, rank, sequence) AS nth
        FROM fitting
    ), sharing AS (
        SELECT *, row_number() OVER (PARTITION BY project_id ORDER BY priority, rank, sequence) AS share
        FROM pooling LEFT JOIN available USING (pool) WHERE pool IS NULL OR nth <= slots_left
    ), picked AS MATERIALIZED (
        SELECT id FROM sharing LEFT JOIN holding USING (project_id)
        WHERE share + coalesce(running, 0)
            <= greatest(1, floor(:project_share * (:slots + coalesce(running, 0))))
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
    bindparam("holders", type_=ARRAY(Uuid)),
    bindparam("held_bulkheads", type_=ARRAY(Text)),
    bindparam("held", type_=ARRAY(Integer)),
    bindparam("slots", type_=Integer),
    bindparam("project_share", type_=Double),
    bindparam("bulkhead_limit", type_=Integer),
    bindparam("pooled_kinds", type_=ARRAY(Text)),
    bindparam("pools", type_=ARRAY(Integer)),
    bindparam("pool_slots", type_=ARRAY(Integer)),
    bindparam("changed", type_=Text),
)
