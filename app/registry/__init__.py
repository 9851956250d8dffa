"""A client for OCI and Docker registries that could be a library of its own."""
