"""The command line: declares, never works."""
