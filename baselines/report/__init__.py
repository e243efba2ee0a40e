"""Reports on finished experiments: tables for the terminal, Markdown, and one HTML page."""
