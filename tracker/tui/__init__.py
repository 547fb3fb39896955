"""The terminal view: runs and live charts, over ssh too.

``braille`` draws lines as dots, ``axis`` chooses bounds and labels, ``chart`` puts a chart together as text,
``compare`` a table of what differs, ``model`` is what is shown (pure decisions and reading), ``once`` prints one frame,
``app`` and ``widgets`` are the live view. Only these two need Textual, the extra ``[tui]``.
"""
