"""Each project's usage of its quotas."""
