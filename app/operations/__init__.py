"""Long work, as pure decisions: its states, its progress, and whether a failure is tried again."""
