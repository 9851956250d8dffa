"""Concurrency primitives that asyncio lacks; they know nothing of HTTP, registries or the database."""
