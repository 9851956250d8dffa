"""A client for OCI and Docker registries, written so that it could be lifted out as a library."""
