"""Alerts: rules that operators edit, checks that find what is wrong, and telling people of it."""
