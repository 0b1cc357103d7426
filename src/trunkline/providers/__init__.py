"""Upstream servers: rows of data, and one HTTP client for all of them."""
