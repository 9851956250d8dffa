"""Errors that follow from the broker's own state."""

from __future__ import annotations

from app.errors.base import BrokerError


class NotFound(BrokerError):
    code = "not-found"
    title = "The resource does not exist."


class ListNotFound(NotFound):
    code = "list-not-found"
    title = "The list does not exist."


class EntryNotFound(NotFound):
    code = "entry-not-found"
    title = "The list has no such entry."


class OperationNotFound(NotFound):
    code = "operation-not-found"
    title = "The operation does not exist."


class PushNotFound(NotFound):
    code = "push-not-found"
    title = "The push does not exist."


class WebhookNotFound(NotFound):
    code = "webhook-not-found"
    title = "The webhook does not exist."


class DeliveryNotFound(NotFound):
    code = "delivery-not-found"
    title = "The delivery does not exist."


class TokenNotFound(NotFound):
    code = "token-not-found"
    title = "The token does not exist."


class ProjectNotFound(NotFound):
    code = "project-not-found"
    title = "The project does not exist."


class Conflict(BrokerError):
    code = "conflict"
    title = "The request conflicts with the current state."


class ListExists(Conflict):
    code = "list-exists"
    title = "The list already exists."


class DuplicatePlatform(Conflict):
    code = "duplicate-platform"
    title = "Two entries would have the same platform."


class ListNotPushable(Conflict):
    code = "list-not-pushable"
    title = "The list can't be pushed in its current state."


class ListFailed(Conflict):
    """The list fails until an added image or a change corrects it."""

    code = "list-failed"
    title = "The list has failed."


class ListIncomplete(ListFailed):
    """`missing_platforms` lists the expected platforms that had no entry at the deadline."""

    code = "list-incomplete"
    title = "The list was not complete by its deadline."


class BuildFailed(ListFailed):
    """`failures` maps each platform whose build was reported as failed to the reason."""

    code = "build-failed"
    title = "A build that the list needs has failed."


class MixedRevisions(Conflict):
    """`revisions` maps the reference of each image to the revision that it was built from."""

    code = "mixed-revisions"
    title = "The images were built from different revisions."


class Superseded(Conflict):
    """`push_id` is the push of the newer run, `digest` is the digest that it pushed."""

    code = "superseded"
    title = "A newer run has already moved the tag."


class PlatformsLost(Conflict):
    """`platforms` lists the platforms that the tag has now and would lose."""

    code = "platforms-lost"
    title = "The push would remove platforms from the tag."


class TagUnreadable(Conflict):
    """The registry did not show what the tag holds, so the tag may hold anything."""

    code = "tag-unreadable"
    title = "The tag could not be read before the push."


class PushNotRestorable(Conflict):
    code = "push-not-restorable"
    title = "Only a successful push can be restored."


class WebhookDisabled(Conflict):
    code = "webhook-disabled"
    title = "The webhook is disabled."


class TooManyWebhooks(Conflict):
    code = "too-many-webhooks"
    title = "The project has reached its limit of webhooks."


class DeliveryPending(Conflict):
    code = "delivery-pending"
    title = "The delivery is already in progress."


class NoSecretKey(Conflict):
    """The operator must set BROKER_SECRET_KEY."""

    code = "no-secret-key"
    title = "The broker has no secret key to encrypt secrets with."


class NameTaken(Conflict):
    code = "name-taken"
    title = "The name is already taken."


class OperationEnded(Conflict):
    code = "operation-ended"
    title = "The operation has already ended."


class OperationCancelled(Conflict):
    code = "operation-cancelled"
    title = "The operation was cancelled."


class TagMoved(Conflict):
    code = "tag-moved"
    title = "The tag does not hold the digest that the push expects."


class RevisionChanged(BrokerError):
    code = "revision-changed"
    title = "The list has changed since it was read."


class Unavailable(BrokerError):
    """The broker can't answer now; the same request may succeed later."""

    code = "unavailable"
    title = "The broker is temporarily unavailable."
    retryable = True


class TooManyRequests(BrokerError):
    code = "too-many-requests"
    title = "The caller has too many requests at a time."


class TooManyStreams(BrokerError):
    code = "too-many-streams"
    title = "The project has reached its limit of event streams."
    retryable = True


class TooManyOperations(BrokerError):
    """`limit` is the number of unfinished operations that a project may have."""

    code = "too-many-operations"
    title = "The project has reached its limit of unfinished operations."
    retryable = True


class TooManyPushes(BrokerError):
    """`limit` is the number of unfinished pushes to one tag that a project may have."""

    code = "too-many-pushes"
    title = "The project has reached its limit of unfinished pushes to one tag."
    retryable = True


class DeadlineExceeded(Unavailable):
    """The deadline of the operation passed; a new request starts a new operation with a new deadline."""

    code = "deadline-exceeded"
    title = "The operation did not end before its deadline."
    retryable = False


class AttemptsExhausted(BrokerError):
    code = "attempts-exhausted"
    title = "Retry limit reached."
