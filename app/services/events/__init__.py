"""The event log of a project, and the streams that follow it."""
