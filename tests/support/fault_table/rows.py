"""The rows of "Faults of real registries", each by a name and its wording in short."""

from __future__ import annotations

__all__ = ["ROWS"]

ROWS: dict[str, str] = {
    # Rate limits and overload
    "rate-limit": "429 on a manifest PUT; Retry-After in any form, in the message only, or as a 403",
    "pull-limit": "GET of manifests is counted and HEAD is not; the abuse limit is another, plain 429",
    "5xx": "500, 502, 503, 504, 499, 52x; a 500 that never passes",
    "408": "408, and the same trouble again and again",
    # Ambiguous writes
    "lost-reply": "the PUT is done and its reply lost; 201 for a tag that is not kept",
    "immutable-tag": "a tag that may not move, refused even for the same digest, by 400, 403, 409 or 412",
    "upload-url": "an upload's address is good once, is lost, or is at another offset",
    "body-once": "a 401, a redirect or a reset after the body was streamed",
    # Consistency
    "not-yet-known": "MANIFEST_BLOB_UNKNOWN right after the upload",
    "head-and-get": "HEAD 200 where GET is 404; 403 where a tag is missing",
    "collected": "children are collected before the list is put",
    # HEAD and headers
    "no-digest": "no Docker-Content-Digest",
    "no-head": "HEAD is not supported, or refused without a reason",
    "head-redirect": "HEAD is redirected to an address that is signed for GET",
    "content-type": "Content-Type missing, with parameters, twice, or of a page; 200 to everything",
    "wrong-digest": "sizes and digests in headers and answers that are not those of the bytes",
    "compressed": "a proxy compresses unasked",
    "406": "406 to an Accept where none is expected",
    "truncated": "a body that ends early, with and without a length",
    # Authentication
    "token-shape": "token, access_token or both; no POST; no expires_in",
    "token-expiry": "the token expires in the middle of a push",
    "two-scopes": "only the first or the last scope of a token request counts",
    "least-scope": "a placeholder scope in the challenge; 403 for more than is allowed",
    "bare-401": "401 without WWW-Authenticate except at /v2/",
    "challenges": "Basic only, a scheme in lower case, several challenges, quotes in parameters",
    # Mount
    "mount": "a mount that is answered by anything but 201",
    # Upload
    "location": "upload locations that are relative, absolute, without a scheme, with a query, elsewhere",
    "upload-status": "uploads that end with 200, 201, 202 or 204",
    "chunks": "limits of a body's size, least and greatest chunks",
    "no-upload": "POST is not supported behind wrong routing; the upload is called invalid",
    # Validation differences
    "list-types": "mixed types are refused, a second push of a list fails, mediaType is needed",
    "tag-lists": "tag lists with nulls, with digests, cut short, or none at all",
    "last-wins": "others push the same tag",
}
