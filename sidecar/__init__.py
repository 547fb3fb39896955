"""The sidecar: a process of its own that takes records from training processes and keeps them.

Never imports ``tracker``: a sidecar runs where no SDK is installed.
"""

__version__ = "0.1.0"
