"""Workers: operations are claimed from the queue, carried out under a lease, and given back on a stop."""
