"""A real MCP server for tests, made with the official library, that may be told to misbehave."""
