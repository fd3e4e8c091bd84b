"""Which failures do the helpers tell apart?

House rule: a failure is one sentence that says what to do about it; the command's own words follow
on lines of their own.
"""


class Unavailable(Exception):
    """No Kubernetes, or a part of it, can be had here; the message says what to do."""


class CommandFailed(Exception):
    """A command that had to succeed did not; holds its exit code and what it printed."""

    def __init__(self, command: list[str], code: int, output: str) -> None:
        super().__init__(f"`{' '.join(command)}` exited {code}:\n{output.strip()[-4000:]}")
        self.command = command
        self.code = code
        self.output = output


class HangLimit(Exception):
    """Something awaited did not come within its limit."""
