"""Authentication to registries: challenges, scopes, tokens and credentials."""
