"""The bodies of the API, as callers and the OpenAPI document see them."""
