"""`mainspring simulate`: the simulation of the testing room, from the command line."""

import click


@click.command()
@click.option("--seeds", type=click.IntRange(1), default=200, show_default=True, help="How many to try.")
@click.option("--seed", type=click.IntRange(0), help="Replay just this one.")
@click.option("--planted", is_flag=True, help="Plant the known bugs instead; each must be caught.")
@click.option("--no-election", is_flag=True, help="Let every server lead, all the time.")
def simulate(seeds: int, seed: int | None, planted: bool, no_election: bool) -> int:
    """Run a cluster on a virtual clock under crashes, pauses and lost messages, and check its promises.

    A seed that breaks one is printed; `--seed` replays it identically.
    """
    from mainspring.testing.simulation import run_cli

    return run_cli(seeds=seeds, seed=seed, planted=planted, elects=not no_election)
