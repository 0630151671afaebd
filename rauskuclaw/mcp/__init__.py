"""The server's API as tools and resources of the Model Context Protocol (contract 12.5). docs/mcp.md is the manual.

Nothing here decides anything: each tool is one request to `/v1`, with the caller's key.
"""
