"""From a model's name to the targets that may answer, and from a request to a target's format."""
