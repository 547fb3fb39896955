"""The command ``tracker``: a thin skin over `tracker.Api`, `tracker.init` and the readers.

``main`` is the entry; ``reading`` has ls and show, ``tail``, ``exporting`` and ``log_command`` a command each,
``keeping`` verify, rebuild and rm; ``common``, ``table`` and ``progress`` what they share.
"""
