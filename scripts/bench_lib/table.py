"""The results as text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from scripts.bench_lib.comparison import Result, Series

# By round trip in ms: the limit as a multiple of the floor, and the least speed-up over docker.
BARS: dict[float, tuple[float, float | None]] = {0: (2.0, None), 30: (1.3, 60.0), 100: (1.2, None)}

HEADINGS = ("round trip", "who", "median", "fastest to slowest", "create", "push", "requests", "")


def lines_of(results: Sequence[Result]) -> Iterator[str]:
    rows = [row for result in results for row in _rows(result)]
    widths = [max(len(cell) for cell in column) for column in zip(HEADINGS, *rows, strict=True)]
    for row in (HEADINGS, *rows):
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _rows(result: Result) -> Iterator[tuple[str, ...]]:
    line = f"{result.round_trip_ms:g} ms (seen: {result.observed_ms:.1f})"
    yield _row(line, "floor", result.floor, "")
    yield _row("", "broker", result.broker, _to_floor(result))
    if result.docker is not None:
        yield _row("", "docker", result.docker, _to_docker(result, result.docker))


def _row(line: str, who: str, series: Series, verdict: str) -> tuple[str, ...]:
    fastest, slowest = series.spread
    spread = f"{fastest:.3f} to {slowest:.3f}" if len(series.outcomes) > 1 else "one run"
    times = f"{series.seconds:.3f} s", spread, f"{series.create:.3f}", f"{series.push:.3f}"
    return line, who, *times, str(series.requests), verdict


def _to_floor(result: Result) -> str:
    ratio = result.broker.seconds / result.floor.seconds
    bar, _ = BARS.get(result.round_trip_ms, (None, None))
    said = f"{ratio:.2f} x the floor"
    return said if bar is None else f"{said}; at most {bar:g}: {_verdict(holds=ratio <= bar)}"


def _to_docker(result: Result, docker: Series) -> str:
    ratio = docker.seconds / result.broker.seconds
    _, bar = BARS.get(result.round_trip_ms, (None, None))
    said = f"{ratio:.1f} x the broker"
    return said if bar is None else f"{said}; at least {bar:g}: {_verdict(holds=ratio >= bar)}"


def _verdict(*, holds: bool) -> str:
    return "holds" if holds else "MISSED"
