"""What each project uses of its quotas."""
