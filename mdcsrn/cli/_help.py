"""Help pages with options grouped by topic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import click


class TopicCommand(click.Command):
    """A command that lists its options by topic.

    Attributes:
        topics: heading to the names of parameters, in the order of the page (``help`` is --help); options of no topic
            come last.
    """

    topics: Mapping[str, Sequence[str]] = {}

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, one column for the whole page, headings without blank lines between them."""
        help_option = self.get_help_option(ctx)
        parameters = {
            "help" if p is help_option else str(p.name): p for p in self.get_params(ctx) if isinstance(p, click.Option)
        }
        named = {name for names in self.topics.values() for name in names}
        rest = [name for name in parameters if name not in named]
        sections = [*self.topics.items(), ("Other" if named else "Options", rest)]
        shown = [
            (heading, [row for name in names if name in parameters and (row := parameters[name].get_help_record(ctx))])
            for heading, names in sections
        ]
        rows = [row for _, listed in shown for row in listed]
        widest = max(len(first) for first, _ in rows)
        formatter.write_paragraph()
        for heading, listed in shown:
            if listed:
                formatter.write(f"{heading}:\n")
                with formatter.indentation():
                    # click sets a column for each list by its widest row: here all lists have one
                    formatter.write_dl([(f"{first:<{widest}}", text) for first, text in listed])


def by_topic(topics: Mapping[str, Sequence[str]], base: type[click.Command] = TopicCommand) -> type[click.Command]:
    """A class of commands with these topics, for ``click.command(cls=...)``.

    Args:
        topics: see :class:`TopicCommand`.
        base: a :class:`TopicCommand` to extend.
    """
    return type(base.__name__, (base,), {"topics": topics, "__doc__": base.__doc__})
