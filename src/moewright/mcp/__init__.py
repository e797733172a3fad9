"""A Model Context Protocol server: true numbers for assistants that write or read strategies."""
