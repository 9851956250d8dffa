"""The broker's own state."""

from __future__ import annotations

from app.errors.base import BrokerError


class NotFound(BrokerError):
    code = "not-found"
    title = "There is no such thing"


class ListNotFound(NotFound):
    code = "list-not-found"
    title = "There is no such list"


class EntryNotFound(NotFound):
    code = "entry-not-found"
    title = "There is no such entry in the list"


class OperationNotFound(NotFound):
    code = "operation-not-found"
    title = "There is no such operation"


class PushNotFound(NotFound):
    code = "push-not-found"
    title = "There is no such push"


class WebhookNotFound(NotFound):
    code = "webhook-not-found"
    title = "There is no such webhook"


class DeliveryNotFound(NotFound):
    code = "delivery-not-found"
    title = "There is no such delivery"


class TokenNotFound(NotFound):
    code = "token-not-found"
    title = "There is no such token"


class ProjectNotFound(NotFound):
    code = "project-not-found"
    title = "There is no such project"


class Conflict(BrokerError):
    code = "conflict"
    title = "The request conflicts with what is there"


class ListExists(Conflict):
    code = "list-exists"
    title = "The list exists already"


class DuplicatePlatform(Conflict):
    code = "duplicate-platform"
    title = "Two entries would share a platform"


class ListNotPushable(Conflict):
    code = "list-not-pushable"
    title = "The list can't be pushed as it stands"


class ListFailed(Conflict):
    """What the list was to become is off, until an image or a change that puts it right comes in."""

    code = "list-failed"
    title = "The list has failed"


class ListIncomplete(ListFailed):
    """`missing_platforms` are those that nobody handed in by the deadline."""

    code = "list-incomplete"
    title = "The list was not complete by its deadline"


class BuildFailed(ListFailed):
    """`failures` has the reason for each platform whose build was reported to have failed."""

    code = "build-failed"
    title = "A build that the list waits for has failed"


class MixedRevisions(Conflict):
    """`revisions` has what each image was built from, by its reference."""

    code = "mixed-revisions"
    title = "The images were not built from one revision"


class Superseded(Conflict):
    """`push_id` is the newer run's push, `digest` what it put there."""

    code = "superseded"
    title = "Something newer has taken the place of this push"


class PlatformsLost(Conflict):
    """`platforms` are those that readers of the tag have now and would not have any more."""

    code = "platforms-lost"
    title = "The push would take platforms from the tag"


class PushNotRestorable(Conflict):
    code = "push-not-restorable"
    title = "Only a push that succeeded can be restored"


class WebhookDisabled(Conflict):
    code = "webhook-disabled"
    title = "The webhook is disabled"


class TooManyWebhooks(Conflict):
    code = "too-many-webhooks"
    title = "The project has as many webhooks as it may have"


class DeliveryPending(Conflict):
    code = "delivery-pending"
    title = "The delivery is under way already"


class NoSecretKey(Conflict):
    """The operator has to set BROKER_SECRET_KEY."""

    code = "no-secret-key"
    title = "The broker has no key under which it could keep a secret"


class NameTaken(Conflict):
    code = "name-taken"
    title = "The name is taken"


class OperationEnded(Conflict):
    code = "operation-ended"
    title = "The operation has ended"


class OperationCancelled(Conflict):
    code = "operation-cancelled"
    title = "The operation was cancelled"


class TagMoved(Conflict):
    code = "tag-moved"
    title = "The tag does not hold what the push expected"


class RevisionChanged(BrokerError):
    code = "revision-changed"
    title = "The list has changed since it was read"


class Unavailable(BrokerError):
    """The broker can't answer now; the same call may succeed later."""

    code = "unavailable"
    title = "The broker can't answer now"
    retryable = True


class TooManyStreams(BrokerError):
    code = "too-many-streams"
    title = "The project is followed by as many as may follow it"
    retryable = True


class DeadlineExceeded(Unavailable):
    """The operation's own deadline passed: at the next call the time starts anew."""

    code = "deadline-exceeded"
    title = "The operation did not end in its time"
    retryable = False


class AttemptsExhausted(BrokerError):
    code = "attempts-exhausted"
    title = "The operation was tried as often as it may be"
