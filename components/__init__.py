"""The factory's steps as plain functions: no orchestrator, no web server."""
