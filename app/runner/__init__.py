"""Takes operations from the queue, keeps their leases, and stops gracefully."""
