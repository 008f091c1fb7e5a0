"""Errors: what can go wrong, by who must act. Every message says where, what was found, what was wanted, what to do."""


class UsageError(ValueError):
    """The command asks for something that cannot be; nothing was started. Exit code 2."""


class ContractError(ValueError):
    """A dataset or a checkpoint is not what it says it is; never skipped over. Exit code 1."""


class RunError(RuntimeError):
    """A run stopped; its last checkpoint is whole, so the same command resumes it. Exit code 3."""
