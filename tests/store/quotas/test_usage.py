"""What a project uses is the sum of what triggers have written, and summing up changes nothing."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import text

from app.lists.events import ALL as EVERY
from app.lists.events import EventKind
from app.projects.quotas import Quota
from app.services.events.log import Events
from app.store.database import Database
from app.store.events import forget_excess_events, page
from app.store.migrate import upgrade
from app.store.notifications import Notifications
from app.store.quotas import usage
from app.store.quotas.summing import sum_up
from app.store.row_security.scopes import SYSTEM
from tests.support.migrations import migrate_to
from tests.support.operation_queue import new_project
from tests.support.projects import named_event

BEFORE, TRIGGERS = "0018", "0019"
ALL = (Quota.LISTS, Quota.METADATA, Quota.MANIFESTS)


async def change(database: Database, statement: str, **values: object) -> None:
    async with database.transaction(SYSTEM) as tx:
        await tx.execute(text(statement), values)


async def read(database: Database, project_id: UUID) -> list[int]:
    async with database.transaction(project_id) as tx:
        used = await usage.read_used(tx, project_id, ALL)
    return [used[quota] for quota in ALL]


MAKE = """
    INSERT INTO manifests (project_id, digest, media_type, raw)
    SELECT CAST(:project AS uuid), CAST(n AS text), '', CAST('12345' AS bytea)
    FROM generate_series(CAST(:first AS int), CAST(:last AS int)) AS n
"""


async def test_summing_up_changes_no_sum_and_leaves_few_rows(database: Database, project_id: UUID) -> None:
    other = await new_project(database)
    for project, number in ((project_id, 60), (other, 30)):
        for first in range(1, number, 3):
            await change(database, MAKE, project=project, first=first, last=first + 2)
    await change(database, "DELETE FROM manifests WHERE digest IN ('1', '2')")
    before = [await read(database, each) for each in (project_id, other)]
    assert before == [[0, 0, 58 * 5], [0, 0, 28 * 5]]
    async with database.transaction(SYSTEM) as tx:
        assert await sum_up(tx) == 60 + 2 + 30 + 2
        assert await sum_up(tx) == 0
        left = (await tx.execute(text("SELECT count(*) FROM project_usage"))).scalar_one()
    assert left == 2
    assert [await read(database, each) for each in (project_id, other)] == before


async def test_a_change_that_is_rolled_back_counts_nothing(database: Database, project_id: UUID) -> None:
    async with database.transaction(SYSTEM) as tx:
        await tx.execute(text(MAKE), {"project": project_id, "first": 1, "last": 9})
        await tx.rollback()
    assert await read(database, project_id) == [0, 0, 0]


WRITTEN_BEFORE = """
    WITH project AS (INSERT INTO projects (id, name) VALUES (gen_random_uuid(), 'kept') RETURNING id),
    made AS (
        INSERT INTO lists (id, project_id, reference, registry, repository, created_by, labels, annotations)
        SELECT gen_random_uuid(), id, 'r.test/app:1', 'r.test', 'app', 'ci', '{"a": "b"}', '{"c": "d"}'
        FROM project RETURNING id, project_id
    ),
    stored AS (
        INSERT INTO manifests (project_id, digest, media_type, raw)
        SELECT id, 'sha256:a', '', '12345' FROM project
    )
    INSERT INTO entries (
        id, list_id, project_id, reference, digest, media_type, size, resolved_platform, added_by, annotations
    )
    SELECT gen_random_uuid(), id, project_id, 'r.test/a:1', 'sha256:a', 'a/b', 1, '{}', 'ci', '{"e": "f"}'
    FROM made
    RETURNING project_id
"""
OF_EACH = len('"a": "b"')


async def test_what_was_there_before_the_triggers_is_counted_once(empty_database_url: str) -> None:
    await migrate_to(empty_database_url, BEFORE)
    database = Database(empty_database_url)
    async with database.transaction() as tx:
        project_id = (await tx.execute(text(WRITTEN_BEFORE))).scalar_one()
    await migrate_to(empty_database_url, TRIGGERS)
    assert await read(database, project_id) == [1, 3 * OF_EACH, 5]
    # As if the migration had been interrupted after its triggers, and rows had been written since.
    async with database.transaction() as tx:
        await tx.execute(text("UPDATE lists SET labels = '{}'"))
        await tx.execute(text("UPDATE alembic_version SET version_num = :before"), {"before": BEFORE})
    await upgrade(empty_database_url)
    assert await read(database, project_id) == [1, 2 * OF_EACH, 5]
    async with database.transaction() as tx:
        await tx.execute(text("DELETE FROM projects"))
    assert await read(database, project_id) == [0, 0, 0]
    await database.dispose()


async def test_only_the_oldest_events_of_a_project_with_too_many_are_removed(
    database: Database, project_id: UUID
) -> None:
    other = await new_project(database)
    events = Events(database, Notifications(""))
    for project, number in ((project_id, 7), (other, 3)):
        for each in range(number):
            async with database.transaction(project) as tx:
                await events.record(tx, project, EventKind.LIST_CHANGED, named_event(str(each)))
    async with database.transaction(SYSTEM) as tx:
        assert await forget_excess_events(tx, kept=3) == 4
        assert await forget_excess_events(tx, kept=3) == 0
    for project, names in ((project_id, ["6", "5", "4"]), (other, ["2", "1", "0"])):
        async with database.transaction(project) as tx:
            found = await page(tx, project, EVERY, before=None, limit=10)
        assert [each.data["labels"]["name"] for each in found] == names
