"""What belongs to a project besides its lists, as pure types: tokens, webhooks and deliveries."""
