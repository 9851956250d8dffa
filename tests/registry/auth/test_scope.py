"""Scopes of tokens."""

from __future__ import annotations

from app.registry.auth.scope import in_order, mounting, pulling, pushing


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
