"""Groups of commands: listed under headings, and an option that lacks its value is said to."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup

_WHOLE = 1000  # letters of a command's first sentence, which is not cut


class Commands(TyperGroup):
    """Commands under headings: the `rich_help_panel` that each is registered with."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write a section a heading."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for name, command in self.commands.items():
            heading = getattr(command, "rich_help_panel", None) or "Commands"
            sections.setdefault(heading, []).append((name, command.get_short_help_str(_WHOLE)))
        for heading, named in sections.items():
            with formatter.section(heading):
                formatter.write_dl(named)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command meant, its name, and what is behind it, in which no option lacks its value."""
        name, command, rest = super().resolve_command(ctx, args)
        if command is not None and not ctx.resilient_parsing:
            options = {word: option for option in command.params for word in (*option.opts, *option.secondary_opts)}
            typed = rest[: rest.index("--")] if "--" in rest else rest
            for word, following in zip(typed, [*typed[1:], None], strict=False):
                option = options.get(word)
                wants = option is not None and not getattr(option, "is_flag", True)
                if option is not None and wants and (following is None or following in options):
                    values = f" ({option.metavar})" if option.metavar else ""
                    found = "nothing" if following is None else following
                    with command.make_context(name, [], parent=ctx, resilient_parsing=True) as own:
                        own.fail(f"{word} takes a value{values}; found {found} behind it.")
        return name, command, rest
