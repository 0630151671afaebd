"""Workflows: steps that are jobs, written down in the workspace (contract 12.4). docs/workflows.md is their manual."""
