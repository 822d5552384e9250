"""`mainspring version`."""

import click

from mainspring import __version__


@click.command()
def version() -> None:
    """The version of Mainspring."""
    click.echo(f"mainspring {__version__}")
