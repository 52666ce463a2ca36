"""Options that several commands share, and the overrides of the settings that they stand for."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from pathlib import Path
from typing import Any

import click

from dgfnet import vocabulary
from dgfnet.errors import meant

Function = Callable[..., Any]
SITES = "base.sites=[{}]"  # the override that --site and SITE are short for


class InOrder(click.Group):
    """A group that lists its commands as they were added; click sorts them by name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Returns the names of the commands."""
        return list(self.commands)


class _Path(click.Path):
    """A file or folder, which may be missing.

    An option without its path does not take the next option for it: `--out --seed 3` makes no `--seed`.
    """

    def __init__(self) -> None:
        super().__init__(readable=False, path_type=Path)  # each command says itself what is wrong with a file

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Returns the path."""
        if isinstance(param, click.Option) and str(value).startswith("-"):
            self.fail(f"expected a path, found {value}; a path of that name is ./{value}", param, ctx)
        return super().convert(value, param, ctx)


class _Site(click.Choice[str]):
    """A site's name; the nearest is named where it is no site's."""

    def __init__(self) -> None:
        super().__init__(vocabulary.SITES)

    def get_invalid_choice_message(self, value: Any, ctx: click.Context | None) -> str:
        """Returns the message about a name that is none of a site."""
        return super().get_invalid_choice_message(value, ctx).rstrip(".") + meant(value, self.choices)


PATH = _Path()
# an override: quoted texts, and all else up to a blank before the key of the next one
ONE = re.compile(r"""(?:'[^']*'|"[^"]*"|\S|\s+(?![a-z_]+(?:\.\w+)+=))+""")
site_option = click.option("--site", default="all", help="central, lateral or all")
site_argument = click.argument("site", type=_Site())
version_argument = click.argument("version")


def overrides(changes: Iterable[str], short: Mapping[str, str], values: Mapping[str, object]) -> list[str]:
    """Returns overrides of the settings as `section.key=value`; later ones win.

    Args:
        changes: texts of `--set`; MLproject passes several in one, blank-separated. A blank in a value stays,
            and a text in quotes stays whole.
        short: for each option that is short for an override, the override with {} for its value.
        values: values of the options; None and `all` override nothing.
    """
    texts = [text.strip() for change in changes for text in ONE.findall(change) if text.strip()]
    return texts + [
        text.format(values[name]) for name, text in short.items() if values[name] not in (None, "all")
    ]


def settings_options(command: Function) -> Function:
    """Gives a command `--params` and `--set`."""
    described = "override section.key=value; several allowed"
    change = click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help=described)
    return click.option("--params", type=PATH, default="params.yaml", help="settings file")(change(command))


def with_settings(**short: str) -> Callable[[Function], Function]:
    """Gives a command `--params` and `--set`, and its function the settings that they lead to.

    Args:
        short: options that are short for an override, as `overrides` takes them; the function finds their
            values in the settings.
    """

    def decorate(function: Function) -> Function:
        @wraps(function)
        def command(params: Path, changes: tuple[str, ...], **values: Any) -> None:
            from dgfnet.settings import load

            others = {name: value for name, value in values.items() if name not in short}
            function(load(params, overrides(changes, short, values)), **others)

        return settings_options(command)

    return decorate
