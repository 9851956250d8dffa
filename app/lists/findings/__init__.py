"""What owners of lists should know: findings, and the rules that find them."""
