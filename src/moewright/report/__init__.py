"""How a reader sees a result: sections of text and tables, printed on a terminal or as Markdown."""
