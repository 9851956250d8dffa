"""Scopes of tokens."""

from __future__ import annotations

import pytest

from app.registry.auth.scope import Scopes, in_order, mounting, pulling, pushing, rewritten


def test_pulling_asks_for_nothing_but_pull() -> None:
    assert pulling("team/app", "base") == {"repository:team/app:pull", "repository:base:pull"}


def test_pushing_asks_for_both_rights_in_one_scope() -> None:
    assert pushing("team/app") == {"repository:team/app:pull,push"}


def test_a_mount_pushes_to_the_target_and_pulls_from_the_source() -> None:
    assert mounting("dst", "src") == {"repository:dst:pull,push", "repository:src:pull"}


def test_the_scope_for_pushing_comes_first() -> None:
    """Some token services read only the first scope."""
    assert in_order(mounting("z", "a")) == ["repository:z:pull,push", "repository:a:pull"]


def test_scopes_of_one_kind_are_in_the_order_of_their_names() -> None:
    assert in_order(pulling("b", "a")) == ["repository:a:pull", "repository:b:pull"]


@pytest.mark.parametrize(
    ("ours", "said", "asked"),
    [
        (pulling("app"), "repository:team/app:pull", {"repository:team/app:pull"}),
        (pulling("app"), "repository:team/app:pull,push", {"repository:team/app:pull"}),
        (pulling("app"), "repository:team/app:pull registry:catalog:*", {"repository:team/app:pull"}),
        (pushing("app"), "repository:team/app:push,pull", {"repository:team/app:pull,push"}),
        (pushing("app"), "repository:team/app:pull", {"repository:team/app:pull"}),
        (
            mounting("app", "src"),
            "repository:team/app:pull,push",
            {"repository:team/app:pull,push", "repository:src:pull"},
        ),
        (
            mounting("app", "src"),
            "repository:team/src:pull repository:team/app:pull,push",
            {"repository:team/app:pull,push", "repository:team/src:pull", "repository:src:pull"},
        ),
        (
            mounting("app", "src"),
            "repository:app:pull,push repository:team/src:pull,push",
            {"repository:app:pull,push", "repository:team/src:pull", "repository:src:pull"},
        ),
    ],
)
def test_a_challenge_may_name_our_repository_by_another_path(
    ours: Scopes, said: str, asked: set[str]
) -> None:
    assert rewritten(ours, "app", said) == frozenset(asked)


@pytest.mark.parametrize(
    ("ours", "said"),
    [
        (pulling("app"), ""),
        (pulling("app"), "repository:app:pull"),
        (pulling("app"), "repository:app:pull,push"),
        (pulling("app"), "repository:app:pull repository:other:pull"),
        (pulling("app"), "repository:one:pull repository:two:pull"),
        (pulling("app"), "repository:other:push"),
        (pulling("app"), "repository:other:delete"),
        (pulling("app"), "repository:other:*"),
        (pulling("app"), "registry:catalog:*"),
        (pulling("app"), "repository(plugin):other:pull"),
        (pulling("app"), "repository:../other:pull"),
        (pulling("app"), "repository:Other:pull"),
        (pulling("app"), "repository:other:pull\nrepository:third:pull"),
        (pulling("app"), "repository:other:pull&scope=repository:third:pull"),
        (mounting("app", "src"), "repository:a:pull,push repository:b:pull,push repository:c:pull"),
    ],
)
def test_a_challenge_may_name_nothing_else(ours: Scopes, said: str) -> None:
    assert rewritten(ours, "app", said) is None


def test_only_the_repository_that_is_written_to_may_be_named_with_push() -> None:
    asked = rewritten(mounting("app", "src"), "app", "repository:a:pull,push repository:b:pull,push")
    assert asked is not None
    assert len([scope for scope in asked if scope.endswith("push")]) == 1
