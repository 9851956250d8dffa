"""The OpenAPI document: its schemas, responses, headers and examples."""
