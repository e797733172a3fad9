"""What a command that somebody starts an engine with does: its layout, its mistakes, and a better one."""
