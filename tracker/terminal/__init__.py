"""The only way to a terminal: messages, progress, text, colours, sparklines."""
