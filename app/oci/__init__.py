"""The pure rules of references, digests, platforms, manifests and indexes."""
