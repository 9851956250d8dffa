"""Examples of each request body for the OpenAPI document; a test sends each of them."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]
DIGEST = "sha256:" + "4f53cda18c2baa0c0354bb5f9a3ecbe5ed12ab4d8e11ba873c2f11161202b945"

CREATE_LIST: Any = {
    "create": {
        "summary": "Like docker manifest create",
        "value": {
            "reference": "registry.example.com/team/app:1.2.3",
            "sources": [
                "registry.example.com/team/app-amd64:1.2.3",
                {
                    "reference": f"registry.example.com/team/app@{DIGEST}",
                    "platform": "linux/arm64/v8",
                },
            ],
        },
    },
    "fan-in": {
        "summary": "One leg of a matrix build adds its image; the last leg publishes the list",
        "value": {
            "reference": "registry.example.com/team/app:1.2.3",
            "sources": ["registry.example.com/team/app-amd64:1.2.3"],
            "amend": True,
            "session": "run-4711",
            "expected_platforms": ["linux/amd64", "linux/arm64"],
            "push_when_complete": True,
            "tags": ["latest"],
            "labels": {"commit": "0f3c2a1"},
            "run_number": 4711,
            "complete_in": 3600,
            "expires_in": 86400,
        },
    },
    "failed-leg": {
        "summary": "A leg reports that its build has failed and releases every waiting leg",
        "value": {
            "reference": "registry.example.com/team/app:1.2.3",
            "amend": True,
            "session": "run-4711",
            "expected_platforms": ["linux/amd64", "linux/arm64"],
            "push_when_complete": True,
            "failures": {"linux/arm64": "exit code 1"},
        },
    },
}
UPDATE_LIST: Any = {
    "options": {
        "summary": "Change options; null clears",
        "value": {"tags": ["latest", "1.2"], "annotations": None, "expires_in": 3600},
    }
}
ADD_ENTRIES: Any = {
    "add": {
        "summary": "Add one image",
        "value": {"sources": ["registry.example.com/team/app-s390x:1.2.3"], "insecure": False},
    }
}
ANNOTATE_ENTRY: Any = {
    "annotate": {
        "summary": "Like docker manifest annotate; null clears",
        "value": {
            "platform": {"os": "linux", "architecture": "arm", "variant": "v7", "os_version": None},
            "annotations": {"org.opencontainers.image.title": "app"},
        },
    }
}
PUSH_LIST: Any = {
    "push": {"summary": "Like docker manifest push --purge", "value": {"purge": True, "insecure": False}},
    "targets": {
        "summary": "Push to another registry as well, only if the tag does not exist yet",
        "value": {"targets": ["other.example.com/team/app:1.2.3"], "if_absent": True},
    },
}
PLAN_PUSH: Any = {
    "plan": {"summary": "Plan a push", "value": {"insecure": False}},
    "targets": {
        "summary": "Plan a push to another registry as well",
        "value": {"targets": ["other.example.com/team/app:1.2.3"], "if_absent": True},
    },
}
RESTORE_PUSH: Any = {
    "restore": {"summary": "Restore the earlier index", "value": {"insecure": False}},
    "only-from": {
        "summary": "Restore only if the tags hold this digest now",
        "value": {"if_digest": DIGEST},
    },
}
REFRESH_LIST: Any = {
    "refresh": {"summary": "Resolve all tags again", "value": {"insecure": False}},
}
DELETE_LISTS: Any = {
    "delete": {
        "summary": "Like docker manifest rm, for several lists",
        "value": {
            "references": ["registry.example.com/team/app:1.2.3", "registry.example.com/team/app:1.2.2"]
        },
    }
}
INSPECT_IMAGES: Any = {
    "inspect": {
        "summary": "Inspect two references",
        "value": {
            "references": [
                "registry.example.com/team/app:1.2.3",
                {"reference": "registry.example.com/team/app:1.2.2", "verbose": True},
            ]
        },
    }
}
CREATE_PROJECT: Any = {"create": {"summary": "Create a project for one team", "value": {"name": "team"}}}
CREATE_TOKEN: Any = {
    "create": {"summary": "Create a token for CI", "value": {"name": "ci", "project": "default"}}
}
CREATE_WEBHOOK: Any = {
    "create": {
        "summary": "Notify a deployment of each published and each failed list",
        "value": {
            "url": "https://deploy.example.com/hooks/manifests",
            "types": ["list.pushed", "list.failed", "push.failed"],
            "description": "deployment",
        },
    }
}
UPDATE_WEBHOOK: Any = {
    "disable": {"summary": "Disable the webhook", "value": {"enabled": False}},
    "change": {"summary": "Send all types of events again; null clears", "value": {"types": None}},
}
WEBHOOK_EVENT: Any = {
    "pushed": {
        "summary": "A list was published",
        "value": {
            "type": "list.pushed",
            "timestamp": "2026-07-01T12:00:02.654321Z",
            "data": {
                "push_id": "0f3c2a1e-8c6b-4b0a-9a52-6a1f4d1f7c11",
                "reference": "registry.example.com/team/app:1.2.3",
                "digest": DIGEST,
            },
        },
    }
}
ROTATE_SECRET: Any = {"rotate": {"summary": "Generate a secret", "value": {}}}
REPLAY_DELIVERIES: Any = {
    "failed": {
        "summary": "Replay all failed deliveries since a time",
        "value": {"since": "2026-07-01T12:00:00Z", "states": ["failed"]},
    },
    "since": {
        "summary": "Replay all deliveries since an event",
        "value": {"since": "4711", "states": ["failed", "delivered"]},
    },
}
INSPECTION: Json = {
    "reference": "registry.example.com/team/app:1.2.3",
    "from": "registry",
    "digest": DIGEST,
    "media_type": "application/vnd.oci.image.index.v1+json",
    "manifest": {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [],
    },
    "raw": "e30=",
}
