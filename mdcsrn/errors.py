"""Family of errors: each says what is wrong, the value got, what is allowed, and what to do."""

from __future__ import annotations

INTERRUPTED = 130  # exit code that a shell reports for a process that Ctrl-C ended
TERMINATED = 143  # likewise, of a process that was asked to end


class MdcsrnError(Exception):
    """Base of every error that mdcsrn raises on purpose.

    Args:
        what: what is wrong, in one sentence, with the file named where there is one.
        got: the value that was met.
        allowed: what would have been accepted.
        remedy: what the user can do now.
    """

    exit_code = 1

    def __init__(
        self, what: str, *, got: object | None = None, allowed: object | None = None, remedy: str | None = None
    ) -> None:
        self.what, self.got, self.allowed, self.remedy = what, got, allowed, remedy
        parts = [what]
        if got is not None:
            parts.append(f"got: {got}")
        if allowed is not None:
            parts.append(f"allowed: {allowed}")
        if remedy is not None:
            parts.append(f"remedy: {remedy}")
        super().__init__(" | ".join(parts))

    def __reduce__(self) -> tuple[object, ...]:
        # Keyword-only arguments are lost by Exception's own pickling; errors cross process borders in data loaders.
        return _rebuild, (type(self), self.what, self.got, self.allowed, self.remedy)


def _rebuild(
    cls: type[MdcsrnError], what: str, got: object | None, allowed: object | None, remedy: str | None
) -> MdcsrnError:
    return cls(what, got=got, allowed=allowed, remedy=remedy)


class DataError(MdcsrnError):
    """A file, a volume or a list of files cannot be used."""

    exit_code = 3


class GeometryError(DataError):
    """An affine, a shape or a grid makes no sense."""


class ConfigError(MdcsrnError):
    """A setting is unknown, out of range or contradicts another one."""

    exit_code = 4


class CheckpointError(MdcsrnError):
    """A checkpoint is damaged, or belongs to another network."""

    exit_code = 5


class TrainingError(MdcsrnError):
    """Training cannot go on (a loss or a gradient is no longer finite)."""

    exit_code = 6


class OutputError(MdcsrnError):
    """A result cannot be written."""

    exit_code = 7


class MissingDependencyError(MdcsrnError):
    """An optional package is needed and not installed."""

    exit_code = 8


class RefusedError(MdcsrnError):
    """Nothing is wrong, but a warning was to be treated as an error (``--strict``)."""

    exit_code = 9


def root_error(error: BaseException | None) -> MdcsrnError | None:
    """Find the project's own error behind wrappers (MONAI and data loaders wrap what a transform raises).

    Args:
        error: the exception that was caught.

    Returns:
        The innermost :class:`MdcsrnError` of the cause and context chain, or None.
    """
    found: MdcsrnError | None = None
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, MdcsrnError):
            found = error
        error = error.__cause__ or error.__context__
    return found
