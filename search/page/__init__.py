"""The report: sections made of blocks, shown as a web page, as Markdown, and in the dashboard."""
