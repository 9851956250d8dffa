"""Fan-in from outside: matrix builds that hand in their images, and what must come of it."""
