"""What an operator sees of the gateway from outside: its log."""
