"""MCP servers that an operator registers, and their tools as tools of agents. docs/mcp.md is the manual.

All that comes from such a server, descriptions of its tools too, is text of a stranger. Nothing here connects by
itself: only a refresh that somebody asks for does, and a call.
"""
