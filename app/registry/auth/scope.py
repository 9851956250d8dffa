"""Token scopes: built from what a request needs, and corrected by a challenge only as `rewritten` allows."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from app.registry.auth.places import is_repository_path

__all__ = ["Scopes", "in_order", "mounting", "path_of", "pulling", "pushing", "rewritten"]

Scopes = frozenset[str]

_SAID = re.compile(r"repository:([^:]{1,255}):([a-z,*]{1,64})")


def pulling(*repositories: str) -> Scopes:
    return frozenset(f"repository:{path}:pull" for path in repositories)


def pushing(repository: str) -> Scopes:
    return frozenset({f"repository:{repository}:pull,push"})


def mounting(target: str, source: str) -> Scopes:
    """Both rights in one token: a mount reads the source and writes the target."""
    return pushing(target) | pulling(source)


def in_order(scopes: Iterable[str]) -> list[str]:
    """Push scopes first, since some token services read only the first scope; otherwise by name."""
    return sorted(scopes, key=lambda scope: (not scope.endswith("push"), scope))


def rewritten(ours: Scopes, repository: str, said: str) -> Scopes | None:
    """The scopes to ask for when a challenge names our repository by another path; None if it names none.

    A front may rewrite paths, so that the registry behind it knows the repository by another name. A hostile
    registry may name a repository of somebody else instead, to receive a token that our credential can get.
    So a challenge changes only the path, and the caller uses it only after our own scope was refused:

    - Only repositories count: no catalog, no registry-wide scope, nothing that is not a repository's path.
    - It names at most one repository for each of ours.
    - Only actions that we would ask for anyway remain: a read asks for nothing but `pull`.
    - Our scopes for other repositories, such as the source of a mount, stay ours.

    The credential is the one for our repository, not for the named one; the token service is checked as ever
    (see `realm`). The token is sent to this registry only, in requests for our repository, and cached for
    this repository, account and tenant. One risk remains: a registry can let its own host's credential
    fetch a token for another of its repositories. Where parts of one host don't trust each other, give each
    path a credential of its own (`host/path`): ours is not used where the caller has another (see `Signer`).
    """
    ours_by_path = {path_of(scope): scope for scope in ours}
    named = dict(_parse(said))
    others = {path: actions for path, actions in named.items() if path not in ours_by_path}
    unnamed = ours_by_path.keys() - named.keys()
    if not others or len(others) > len(unnamed):
        return None
    asked = {scope for path, scope in ours_by_path.items() if path != repository or path not in unnamed}
    # The repository that is written to is the only one that may be named with `push`.
    written = max(others, key=lambda path: "push" in others[path]) if repository in unnamed else None
    for path, actions in others.items():
        wanted = _actions(ours_by_path[repository]) if path == written else ["pull"]
        if not (kept := [action for action in wanted if action in actions]):
            return None
        asked.add(f"repository:{path}:{','.join(kept)}")
    return frozenset(asked)


def path_of(scope: str) -> str:
    """The repository of a scope."""
    return scope.split(":")[1]


def _actions(scope: str) -> list[str]:
    return scope.split(":")[2].split(",")


def _parse(said: str) -> Iterator[tuple[str, list[str]]]:
    for part in said.split():
        found = _SAID.fullmatch(part)
        if found is not None and is_repository_path(found[1]):
            yield found[1], found[2].split(",")
