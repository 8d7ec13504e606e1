"""Text on its way to a terminal, which shows it as given: nothing in it is markup or controls the terminal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from lightning_modules.shown_text import visible


class Terminal(Console):
    """A console that prints text as given, in tables too."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def print(self, *objects: Any, **options: Any) -> None:
        try:
            super().print(*objects, **options)
        except Exception:
            self.begin_capture()
            self.end_capture()  # drops what could not be written, which the next call would write again
            raise

    def on_broken_pipe(self) -> None:
        raise

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(visible(text), **options)  # before a table measures its cells

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else visible(text), style, control)


def tell(console: Console, text: object) -> None:
    """Print text as given, without wrapping long lines. The console may be the user's own."""
    console.print(Text(visible(str(text))), soft_wrap=True)
