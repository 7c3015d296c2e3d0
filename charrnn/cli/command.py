"""One command: its help pages, what its completion offers, and the refusal of options that are given twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperCommand, TyperOption

from charrnn.errors import UsageError
from charrnn.settings.fields import Level
from charrnn.wording import shortened

if TYPE_CHECKING:
    from charrnn.display.help_page import Section

_LONGEST_VALUE = 60
"""Characters of a value that a message repeats."""

Arrange = Callable[[Mapping[str, Any], bool], "list[Section]"]
"""Makes the sections of a help page of the options by name; the second argument says whether all are shown."""


class Command(TyperCommand):
    """A command of ours."""

    levels: Mapping[str, Level]
    """Whether an option is an everyday one, by its parameter's name; one without a level is."""
    arrange: Arrange | None = None
    """How the page's sections are made, where they are not those of the options' panels."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.levels = {}
        self.params.append(
            TyperOption(
                param_decls=["--help-all"],
                is_flag=True,
                is_eager=True,
                expose_value=False,
                callback=self._show_page,
                help="Show all options, by topic, and exit.",
            )
        )

    def get_help_option(self, ctx: Any) -> Any:
        option = super().get_help_option(ctx)
        if option is not None:
            option.help, option.callback = "Show the everyday options and exit.", self._show_page
        return option

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Draws the page of the everyday options."""
        self._draw(ctx, is_whole=False)

    def _show_page(self, ctx: Any, param: Any, wanted: bool) -> None:
        if wanted and not ctx.resilient_parsing:
            self._draw(ctx, is_whole="--help-all" in param.opts)
            raise typer.Exit

    def _draw(self, ctx: Any, *, is_whole: bool) -> None:
        from rich.console import Console

        from charrnn.cli.help_page import page_of
        from charrnn.display.help_page import draw

        draw(page_of(ctx, self.levels, self.arrange, is_whole=is_whole), Console(highlight=False, markup=False))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Reads the command's words. Raises UsageError for an option given twice that can be given once."""
        if not ctx.resilient_parsing:
            parser = self.make_parser(ctx)
            for option in {
                id(each): each for each in (*parser._short_opt.values(), *parser._long_opt.values())
            }.values():
                option.action = _EVERY.get(option.action, option.action)  # so that no value takes another's place
            try:
                given, _, order = parser.parse_args(args=list(args))
            except Exception as error:
                vars(error)["ctx"] = ctx  # some of the parser's errors know it, and some do not
                raise
            for param, times in Counter(order).items():
                if times > 1 and param.param_type_name == "option" and not param.multiple:
                    raise UsageError(_told(param, given[str(param.name)], times), "give it once")
        return super().parse_args(ctx, args)


_EVERY = {"store": "append", "store_const": "append_const"}


def _told(param: Any, values: list[Any], times: int) -> str:
    """Returns what is wrong with an option that is given several times, with its values where it takes any."""
    name = " or ".join((*param.opts[:1], *param.secondary_opts[:1]))
    said = f"{name} is given {'twice' if times == 2 else f'{times} times'}"
    if param.is_flag:
        return said
    words = [shortened(str(value), _LONGEST_VALUE) or "''" for value in values]
    return f"{said}: {', '.join(words[:-1])} and {words[-1]}"
