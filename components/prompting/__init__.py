"""Prompts that survive typos, look-alike letters and two languages, with a confidence."""
