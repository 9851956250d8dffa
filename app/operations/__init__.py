"""Long-running work as pure types and decisions: requests, states, progress, capacity and retries."""
