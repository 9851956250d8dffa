"""The targets of a push: repositories, and the tags in each of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from app.lists.draft import Draft
from app.oci.digest import Digest
from app.oci.reference import Reference, Repository


@dataclass(frozen=True, slots=True)
class PushTarget:
    """One repository and its tags that will lead to the index; without tags, the index is put by digest."""

    repository: Repository
    tags: tuple[str, ...]

    def references(self, digest: Digest) -> tuple[Reference, ...]:
        """The references that readers use, one for each tag."""
        if not self.tags:
            return (self.repository.at(digest),)
        return tuple(self.repository.tagged(tag) for tag in self.tags)


def own_references(draft: Draft) -> list[Reference]:
    """The list's own reference, its further tags, and its targets."""
    tags = [draft.reference.tagged(tag) for tag in draft.options.tags]
    return [draft.reference, *tags, *draft.options.targets]


def group_by_repository(references: Iterable[Reference]) -> tuple[PushTarget, ...]:
    tags: dict[Repository, list[str]] = {}
    for reference in references:
        known = tags.setdefault(reference.repository, [])
        if reference.tag is not None and reference.tag not in known:
            known.append(reference.tag)
    return tuple(PushTarget(repository, tuple(names)) for repository, names in tags.items())
