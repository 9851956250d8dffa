"""Every outgoing connection: HTTP transport, address policy, TLS, budgets and retries."""
