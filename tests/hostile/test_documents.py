"""Documents that lie, contradict themselves or harm their reader (T11 to T17 and T19 of the threats)."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from app import errors
from app.oci.digest import digest_of
from app.oci.media_types import OCI_INDEX, OCI_MANIFEST
from tests.support import hostile_documents
from tests.support.hostile_cases import Act, Case, check_case, fetch, fetch_config, head, parametrized
from tests.support.hostile_servers import IMAGE, HostileServers, Reply, reply

FULL = 4 * 1024 * 1024
HEAD = f"HTTP/1.1 200 OK\r\nContent-Type: {IMAGE.media_type}\r\n".encode()


def _serving(answer: Reply, name: str, *, outcome: type[errors.BrokerError] | None) -> Case:
    async def served(servers: HostileServers) -> object:
        servers.registry.asks = 'Basic realm="x"'
        servers.registry.on("/app/manifests/", answer)
        return await fetch(servers)

    return Case(name, served, outcome=outcome)


def _of_two_minds() -> Iterator[Case]:
    for name, (content_type, body) in hostile_documents.corpus().items():
        headers = (("Content-Type", content_type),) if content_type is not None else ()
        yield _serving(Reply(200, headers, body), name, outcome=errors.BrokerError)


def _not_what_was_asked_for() -> Iterator[Case]:
    raw, flipped = IMAGE.raw, IMAGE.raw[:-2] + bytes([IMAGE.raw[-2] ^ 1]) + IMAGE.raw[-1:]
    bodies: Mapping[str, bytes] = {
        "a flipped bit": flipped,
        "a byte more": raw + b" ",
        "a byte less": raw[:-1],
        "nothing": b"",
        "other white space": json.dumps(json.loads(raw)).encode() + b"\n",
        "another image": hostile_documents.raw(hostile_documents.image()),
    }
    for name, body in bodies.items():
        for said, stated in {"its own": str(digest_of(body)), "the wanted": IMAGE.digest, "no": None}.items():

            async def pinned(
                servers: HostileServers, body: bytes = body, stated: str | None = stated
            ) -> object:
                """The digest that was asked for counts, whatever the registry says (GHSA-qv35-3gw6-8q4j)."""
                headers: tuple[tuple[str, str], ...] = (("Content-Type", IMAGE.media_type),)
                if stated is not None:
                    headers += (("Docker-Content-Digest", stated),)
                servers.registry.on("/app/manifests/", Reply(200, headers, body))
                reference = servers.reference().at(digest_of(IMAGE.raw))
                return await servers.client.fetch_manifest(reference, servers.access)

            yield Case(f"{name} with {said} digest", pinned, outcome=errors.SourceUnusable)

        async def config(servers: HostileServers, body: bytes = body) -> object:
            servers.registry.on("/app/blobs/", reply(body=body))
            return await fetch_config(servers)

        yield Case(f"a config of {name}", config, outcome=errors.SourceUnusable)


def _algorithms() -> Iterator[Case]:
    for algorithm in ("sha512", "sha384", "md5", "sha1", "SHA256", "sha256+b64"):

        async def otherwise(servers: HostileServers, algorithm: str = algorithm) -> object:
            """A header that can't be understood is no header; one that can must be right."""
            stated = f"{algorithm}:{hashlib.sha512(b'x').hexdigest()}"
            answer = reply(body=IMAGE.raw, Content_Type=IMAGE.media_type, Docker_Content_Digest=stated)
            servers.registry.on("/app/manifests/", answer)
            await fetch(servers)
            return await head(servers)

        wrong = errors.DigestMismatch if algorithm == "sha512" else None
        yield Case(f"a digest by {algorithm}", otherwise, outcome=wrong)


def _bombs() -> Iterator[Case]:
    bodies: Mapping[str, bytes] = {
        **{f"{depth} arrays": b"[" * depth for depth in (33, 1_000, 100_000, FULL)},
        **{f"{depth} closed arrays": b"[" * depth + b"]" * depth for depth in (33, 1_000, 100_000)},
        **{f"{depth} objects": b'{"a":' * depth for depth in (33, 1_000, 500_000)},
        "a number of 4,301 digits": b'{"schemaVersion":' + b"1" * 4_301 + b"}",
        "a number of 4 MiB": b"1" * FULL,
        "a float of 4 MiB": b"1." + b"1" * (FULL - 10),
        "an exponent": b'{"schemaVersion":1e400}',
        "NaN": b'{"schemaVersion":NaN}',
        "Infinity": b'{"schemaVersion":-Infinity}',
        "a million commas": b"[" + b"1," * 1_000_000 + b"1]",
        "a million texts": b"[" + b'"",' * 1_000_000 + b'""]',
        "a million keys": b"{" + b'"":1,' * 700_000 + b'"":1}',
        "an open text": b'{"a":"' + b"\\\\" * 1_000_000,
        "half a surrogate pair": b'{"\\ud800":1}',
        "a NUL": b'{"a\\u0000":1}',
        "UTF-16": "{}".encode("utf-16"),
        "a byte order mark": b"\xef\xbb\xbf{}",
        "overlong UTF-8": b'{"\xc0\xaf":1}',
        "white space": b" " * FULL,
        "one byte too many": IMAGE.raw.ljust(FULL + 1),
    }
    for name, body in bodies.items():
        yield _serving(reply(body=body, Content_Type=OCI_MANIFEST), name, outcome=errors.SourceUnusable)
        if len(body) > FULL:
            continue

        async def config(servers: HostileServers, body: bytes = body) -> object:
            document = hostile_documents.image()
            document["config"].update({"digest": str(digest_of(body)), "size": len(body)})
            raw = hostile_documents.raw(document)
            servers.registry.hold("/v2/app/manifests/1", OCI_MANIFEST, raw)
            servers.registry.on("/app/blobs/", reply(body=body))
            return await fetch_config(servers)

        yield Case(f"a config of {name}", config, outcome=errors.SourceUnusable)


def _sizes() -> Iterator[Case]:
    for name, size in {"2**53": 2**53, "a terabyte": 2**40, "4 MiB and one": FULL + 1}.items():

        async def declared(servers: HostileServers, size: int = size) -> object:
            """What is declared costs nothing: it is refused before it is asked for."""
            document = hostile_documents.image()
            document["config"]["size"] = size
            servers.registry.hold("/v2/app/manifests/1", OCI_MANIFEST, hostile_documents.raw(document))
            await fetch_config(servers)
            return None

        yield Case(f"a config of {name} bytes by its descriptor", declared, outcome=errors.SourceUnusable)
    raw = IMAGE.raw
    for name, data in {
        "a length that is too long": HEAD + b"Content-Length: 9999999\r\n\r\n" + raw,
        "a length that is too short": HEAD + b"Content-Length: 5\r\n\r\n" + raw,
        "a length that is no number": HEAD + b"Content-Length: x\r\n\r\n" + raw,
        "a length below nothing": HEAD + b"Content-Length: -5\r\n\r\n" + raw,
        "two lengths": HEAD + b"Content-Length: 5\r\nContent-Length: 500\r\n\r\n" + raw,
        "a length and chunks": HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{    ",
        "chunks that are none": HEAD + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n{}",
        "a chunk below nothing": HEAD + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n{}",
        "a chunk without end": HEAD + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n{}",
        "chunks of one byte": HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\n \r\n" * 100_000,
        "chunks of one byte with extensions": (
            HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"01;a=b\r\n \r\n" * 100_000
        ),
        "interim answers": b"HTTP/1.1 100 Continue\r\n\r\n" * 10_000 + HEAD + b"\r\n",
        "interim answers with headers": b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" * 5_000
        + HEAD
        + b"\r\n",
        "a switch of protocols": b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        "no HTTP": b"SSH-2.0-OpenSSH_9.0\r\n",
        "HTTP of another time": b"HTTP/9.9 200 OK\r\n\r\n{}",
        "a status that is none": b"HTTP/1.1 2x0 OK\r\n\r\n{}",
        "9,000 headers": HEAD + b"".join(b"X-%d: a\r\n" % place for place in range(9_000)) + b"\r\n",
        "a header of 1 MB": HEAD + b"X: " + b"a" * 1_000_000 + b"\r\n\r\n",
        "a header's name of 1 MB": HEAD + b"a" * 1_000_000 + b": x\r\n\r\n",
        "headers of 60 KiB together": HEAD + b"".join(b"X-%d: %b\r\n" % (n, b"a" * 2_000) for n in range(30)),
        "a NUL in a header": HEAD + b"X: a\x00b\r\n\r\n",
        "a folded header": HEAD + b"X: a\r\n b\r\nContent-Length: 2\r\n\r\n{}",
        "two types": HEAD + f"Content-Type: {OCI_INDEX}\r\nContent-Length: {len(raw)}\r\n\r\n".encode() + raw,
        "silence": b"",
    }.items():
        may_succeed = name == "two types"
        case = _serving(Reply(raw=data), name, outcome=errors.BrokerError)
        yield Case(case.name, case.act, case.outcome, may_succeed=may_succeed)


def _slow() -> Iterator[Case]:
    """A call has its time, however the answer is spread over it; the world's own patience is short here."""
    full = HEAD + b"Content-Length: 9999\r\n\r\n" + IMAGE.raw
    for name, drip in {"a byte now and then": 0.005, "hardly anything": 5.0}.items():
        for path, act in {"/v2/$": fetch, "/app/manifests/": fetch, "/app/blobs/": fetch_config}.items():

            async def slow(
                servers: HostileServers, drip: float = drip, path: str = path, act: Act = act
            ) -> object:
                servers.registry.on(path, Reply(raw=full, drip=drip))
                return await act(servers)

            yield Case(f"{name} at {path}", slow, outcome=errors.RegistryError, seconds=0.3)


def _encodings() -> Iterator[Case]:
    bomb = gzip.compress(b" " * 16 * FULL, 1)
    for coding in (
        "gzip",
        "GZIP",
        "deflate",
        "br",
        "zstd",
        "compress",
        "x-gzip",
        "gzip, gzip",
        "identity, gzip",
        "?",
    ):
        answer = reply(body=bomb, Content_Type=OCI_MANIFEST, Content_Encoding=coding)
        yield _serving(answer, f"a manifest in {coding}", outcome=errors.SourceInvalid)

        async def config(servers: HostileServers, coding: str = coding) -> object:
            servers.registry.on(
                "/app/blobs/", reply(body=gzip.compress(IMAGE.config), Content_Encoding=coding)
            )
            return await fetch_config(servers)

        yield Case(f"a config in {coding}", config, outcome=errors.SourceInvalid)
    twice = (("Content-Encoding", "identity"), ("Content-Encoding", "gzip"), ("Content-Type", OCI_MANIFEST))
    yield _serving(Reply(200, twice, bomb), "two encodings", outcome=errors.SourceUnusable)
    yield _serving(
        reply(body=bomb, Content_Type=OCI_MANIFEST), "an unnamed one", outcome=errors.SourceInvalid
    )


def _refusals() -> Iterator[Case]:
    """Errors are read as documents too, and shown to people."""
    for name, body in {
        "depth": b"[" * 60_000,
        "4 MiB": b"[" * FULL,
        "numbers": b'{"errors":[{"code":' + b"1" * 5_000 + b"}]}",
        "a page": b"<html><script>alert(1)</script>",
        "lines": json.dumps(
            {"errors": [{"code": "X\r\nY", "message": "a\r\nb\x1b[31m\u2028\u202e"}]}
        ).encode(),
        "a list of lists": b'{"errors":[[["x"]]]}',
        "surrogates": b'{"errors":[{"code":"\\ud800","message":"\\udfff"}]}',
    }.items():
        for status in (400, 401, 403, 404, 429, 500):

            async def refused(servers: HostileServers, status: int = status, body: bytes = body) -> object:
                servers.registry.on("/app/manifests/", reply(status, body))
                try:
                    return await fetch(servers)
                except errors.BrokerError as error:
                    said = f"{error.detail}{error.members}"
                    assert len(said) < 2_000
                    assert not [c for c in said if c in "\r\n\x1b\u2028\u202e" or 0xD800 <= ord(c) <= 0xDFFF]
                    raise

            yield Case(f"{status} with {name}", refused)


@parametrized(
    [
        *_of_two_minds(),
        *_not_what_was_asked_for(),
        *_algorithms(),
        *_slow(),
        *_bombs(),
        *_sizes(),
        *_encodings(),
        *_refusals(),
    ]
)
async def test_a_document_that_contradicts_itself_is_rejected(case: Case, tmp_path: Path) -> None:
    await check_case(case, tmp_path)
