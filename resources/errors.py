"""The errors a user can meet; each carries the exit code of DESIGN §5 and says what to do."""

from __future__ import annotations


class BehaviorError(Exception):
    """An error whose text is meant for the user. ``exit_code`` is the command's exit status."""

    exit_code = 1


class UsageError(BehaviorError):
    """A wrong option, setting or name."""

    exit_code = 2


class InputRefusedError(BehaviorError):
    """An input file that was refused as a whole."""

    exit_code = 3


class RuleError(BehaviorError):
    """Rules could not be evaluated; names the table and the rules, and no value of a row."""

    @classmethod
    def of(cls, table: str, rules: tuple[str, ...], why: str) -> RuleError:
        """Some rules of a table, or all of them."""
        named = f"rule {', '.join(rules)}: " if rules else ""
        return cls(f"{table}: {named}could not be evaluated: {why}. What follows from the table was not made. "
                   "Either the rule is wrong, or this engine does not understand it.")  # fmt: skip


class QualityError(BehaviorError):
    """A blocking rule that failed."""

    exit_code = 4


class IntegrityError(BehaviorError):
    """A lake or export that contradicts itself."""

    exit_code = 5


class ConflictError(IntegrityError):
    """Another process committed first. What was about to be committed is not in; doing it again is safe."""


class StorageError(BehaviorError):
    """The disk refused a write; what was committed before stays readable."""

    exit_code = 1


class StoreError(BehaviorError):
    """A bucket or folder that holds a lake's files cannot be reached or refuses; what it acknowledged stays."""

    exit_code = 1


class FileInTheWayError(StorageError):
    """A file stands where a folder is wanted."""


class TrainingError(BehaviorError):
    """A model that cannot be trained on the data there is; what is served stays as it was."""

    exit_code = 1


class PublishError(BehaviorError):
    """A database that cannot be reached or refuses what is published; what it served stays."""

    exit_code = 1
