"""MCP servers that an operator registered: real ones, over pipes and over HTTP."""
