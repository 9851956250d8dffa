"""The index put under a name at its target, and read back."""

from __future__ import annotations

from app import errors
from app.oci.manifest import Manifest
from app.registry.auth.scope import pushing
from app.registry.content.manifests import named, read_digest
from app.registry.content.referrers_tag import find_subject, list_in_tag, list_unless_listed
from app.registry.push.settle import Mend, put_settled, wait
from app.registry.repository import Remote

__all__ = ["IndexPuts"]


class IndexPuts:
    """A PUT whose answer was lost, or that a rule refuses for what is there already, may have succeeded.

    What a reader gets decides, and it is read by GET: HEAD is answered from caches.
    """

    def __init__(self, remote: Remote, index: Manifest, mend: Mend) -> None:
        self._remote = remote
        self._index = index
        self._mend = mend
        self._scopes = pushing(remote.path)
        self._is_noted = False

    async def put(self, target: str) -> None:
        """Under a tag or its digest; returns when it is what a reader gets."""
        is_noted = None
        try:
            is_noted = await put_settled(self._remote, target, self._index, self._mend)
        except errors.RegistryError:
            if not await self._is_held(target):
                raise
        else:
            await self._verify(target)
        if not self._is_noted:
            await self._note_subject(is_noted=is_noted)
            self._is_noted = True

    async def _note_subject(self, *, is_noted: bool | None) -> None:
        """Once, whatever the number of tags; None where the answer that would have told was lost."""
        found = None if is_noted else await find_subject(self._remote, self._index)
        if found is None:
            return
        subject, described = found
        if is_noted is None:
            await list_unless_listed(self._remote, subject, described)
        else:
            await list_in_tag(self._remote, subject, [described])

    async def _verify(self, target: str) -> None:
        wanted = self._index.digest
        attempt = 1
        while (found := await read_digest(self._remote, target, scopes=self._scopes)) != wanted:
            if not await wait(attempt, may_pass=True, limits=self._remote.services.limits):
                raise errors.PushNotVerified(
                    f"{named(self._remote, target)} was put as {wanted}, but gives {found or 'nothing'}",
                    **self._remote.context(named(self._remote, target)).members,
                )
            attempt += 1

    async def _is_held(self, target: str) -> bool:
        try:
            found = await read_digest(self._remote, target, scopes=self._scopes)
        except errors.BrokerError:
            return False
        return found == self._index.digest
