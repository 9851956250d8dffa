"""The statement that claims operations: which of them may run now, and who is first when room is scarce."""

from __future__ import annotations

from sqlalchemy import ARRAY, Integer, Text, bindparam, text

from app.store.operations import COLUMNS

# statement_timestamp(), because now() may lie before the wait for the lock, and because it is stable, so that
# indexes serve. States are literals: a parameter would keep the planner from the partial indexes.
#
# Who lost a lease had the keys to itself, and goes on before anything else. What is queued waits for all that
# run under one of its keys, and for all that were accepted earlier, even if those are waiting to be retried.
# One pass over all that is alive and has keys finds who waits. A search for each candidate, by the index on
# the keys, took a fifth of a second when two thousand waited for one key; NOT EXISTS became a nested loop of
# ten thousands until the table was analyzed. NOT IN is hashed.
#
# What asks the same registries is a lane, and a lane may not have more of a worker's room than its share, nor
# more than is left free: so however many wait for a registry that does not answer, the others find room. What
# is picked by its place in the lane is little, and locked by its ids; it is looked at again then, because it
# may have been changed since.
#
# Receivers are anyone's, and as many as anyone likes: a share for each of them would bound nothing, so all
# deliveries together have theirs, counted among those that find room in their lanes. What a lane of them
# leaves free is of that share.
#
# Projects take turns, among operations of the same priority: in a lane for its places, and then for the room
# of the worker. What a project runs, in any worker, has had its turn, so that each place that becomes free
# goes to who has fewest. Nobody remembers who was served last: where more projects wait than there are
# places, those that run equally many go by age.
#
# On ten thousand queued operations of ten projects the turns cost 20 ms of 65: two more sorts.
CLAIM = text(f"""
    WITH closed AS (
        SELECT coalesce(array_agg(registry), '{{}}') AS registries FROM registry_budgets
        WHERE blocked_until > statement_timestamp()
    ), lost AS (
        SELECT id, kind FROM operations
        WHERE state = 'running' AND lease_until < statement_timestamp() AND NOT cancel_requested
          AND lost + 1 < :max_lost AND deadline_at > statement_timestamp() AND kind = ANY(:kinds)
          AND NOT registries && (SELECT registries FROM closed)
          AND (kind <> 'deliver' OR :deliveries > 0)
        ORDER BY priority, sequence LIMIT :limit
        FOR UPDATE SKIP LOCKED
    ), place AS (
        SELECT id, sequence > min(sequence) OVER same OR bool_or(state = 'running') OVER same AS waits
        FROM operations CROSS JOIN unnest(keys) AS key
        WHERE state IN ('queued', 'running') AND keys <> '{{}}'
        WINDOW same AS (PARTITION BY key COLLATE "C")
    ), eligible AS (
        SELECT id, kind, priority, sequence, registries, project_id, 0 AS running
        FROM operations
        WHERE state = 'queued' AND run_at <= statement_timestamp()
          AND deadline_at > statement_timestamp() AND kind = ANY(:kinds)
          AND id NOT IN (SELECT id FROM place WHERE waits)
          AND NOT registries && (SELECT registries FROM closed)
        UNION ALL
        SELECT id, kind, priority, sequence, registries, project_id, 1
        FROM operations WHERE state = 'running'
    ), turns AS (
        SELECT *, sum(running) OVER (PARTITION BY project_id) AS before, row_number() OVER (
            PARTITION BY project_id, registries ORDER BY running DESC, priority, sequence
        ) AS turn
        FROM eligible
    ), ready AS (
        SELECT *, row_number() OVER (PARTITION BY registries ORDER BY priority, turn, sequence) AS nth
        FROM turns WHERE running = 0
    ), fitting AS (
        SELECT id, kind, priority, sequence,
            before + row_number() OVER (PARTITION BY project_id ORDER BY priority, turn, sequence) AS turn
        FROM ready LEFT JOIN unnest(:lanes, :held) AS busy (lane, held)
            ON busy.lane = array_to_string(ready.registries, ' ')
        WHERE registries = '{{}}'
           OR nth + coalesce(held, 0) <= least(:share, (coalesce(held, 0) + 1 + CASE
                WHEN kind = 'deliver' THEN least(:limit, :deliveries) ELSE :limit END) / 2)
    ), fair AS (
        SELECT *, row_number() OVER (PARTITION BY kind = 'deliver' ORDER BY priority, turn, sequence) AS nth
        FROM fitting
    ), picked AS MATERIALIZED (
        SELECT id FROM fair
        WHERE kind <> 'deliver' OR nth <= :deliveries - (SELECT count(*) FROM lost WHERE kind = 'deliver')
        ORDER BY priority, turn, sequence LIMIT :limit - (SELECT count(*) FROM lost)
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
    ), told AS (
        INSERT INTO operation_events (operation_id, kind, data)
        SELECT id, state, json_build_object('state', state, 'attempt', attempt, 'progress', progress)
        FROM claimed
    )
    SELECT *, attempt - excused AS counted, deadline_at - clock_timestamp() AS time_left,
        pg_notify(:changed, CAST(id AS text))
    FROM claimed
""").bindparams(  # noqa: S608 - nothing of a caller's
    bindparam("kinds", type_=ARRAY(Text)),
    bindparam("lanes", type_=ARRAY(Text)),
    bindparam("held", type_=ARRAY(Integer)),
    bindparam("limit", type_=Integer),
    bindparam("share", type_=Integer),
    bindparam("deliveries", type_=Integer),
    bindparam("changed", type_=Text),
)
