"""Arguments of Weights & Biases that `tracker.init` does not have, and what to do instead."""

from __future__ import annotations

_ANSWERS = {
    "entity": "tracker has no entities: a root directory holds all projects; leave entity out",
    "save_code": "tracker does not save code by itself; leave save_code out, and call run.save('train.py')",
    "anonymous": "tracker needs no account; leave anonymous out",
    "force": "tracker needs no login; leave force out",
    "sync_tensorboard": "tracker does not read TensorBoard events; leave sync_tensorboard out, and log with run.log()",
    "monitor_gym": "tracker does not record videos of environments; leave monitor_gym out",
    "config_exclude_keys": "leave config_exclude_keys out, and remove these keys from config before init()",
    "config_include_keys": "leave config_include_keys out, and pass only these keys in config",
    "allow_val_change": "leave allow_val_change out: a resumed run takes the new config; "
    "to change a value later, use run.config.update({...}, allow_val_change=True)",
    "magic": "tracker does not log by itself; leave magic out, and log with run.log()",
    "fork_from": "tracker cannot fork a run; leave fork_from out, and start a new run, or continue one with "
    "id=..., resume='must'",
    "resume_from": "tracker cannot rewind a run; leave resume_from out, and continue it with id=..., resume='must'",
}


def answer(argument: str) -> str | None:
    """Return what to do instead of passing `argument`; None for one that Weights & Biases does not have either."""
    text = _ANSWERS.get(argument)
    return None if text is None else f"tracker.init() has no argument {argument!r}: {text}"
