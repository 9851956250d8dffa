"""Fan-in over the API: matrix builds that add their images, and the checks of the result."""
