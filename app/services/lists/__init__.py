"""Draft lists: requests, the worker behind them, and the one place that stores a change."""
