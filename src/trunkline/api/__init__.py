"""HTTP in and out: the routes, the two doors to the inference handlers, the answers."""
