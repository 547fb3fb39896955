"""The terminal view: runs and live charts, over ssh too.

``braille`` draws lines as dots, ``axis`` chooses bounds and labels, ``chart`` puts a chart together as text, ``model``
is what is shown (pure decisions and reading), ``once`` prints one frame, ``app`` is the live view (Textual, the extra
``[tui]``). Only ``app`` needs Textual.
"""
