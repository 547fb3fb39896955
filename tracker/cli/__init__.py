"""The command ``tracker``: a thin skin over `tracker.Api`, `tracker.init` and the readers.

Each command is a module of its name with ``add(commands)`` (its arguments and help) and ``run(args)`` (its body), and a
row in ``main.COMMANDS``. ``common``, ``select``, ``servers``, ``series`` and ``table`` hold what they share.
"""
