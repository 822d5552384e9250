"""Tests of tasks: run where they are submitted, or on a cluster in virtual time."""

import shop

from mainspring import When, testing


def test_an_order_is_shipped():
    """Inline, a task has run when `submit` returns: no worker, no waiting, the real rules."""
    with testing.inline(shop.app):
        charged = shop.charge.with_options(name="payment").submit("order-7", cents=4999)
        parcel = shop.ship.with_options(depends_on=[charged]).submit("order-7")
        assert parcel.result() == {"order": "order-7", "payment": "receipt for order-7 over 49.99"}


def test_a_killed_worker_charges_nobody_twice():
    """A cluster in virtual time, in which hosts die as the seed says; a day takes a moment."""
    with testing.cluster(shop.app, seed=7, workers=3, faults=["worker.crash"], fault_every="5s") as cluster:
        orders = [shop.charge.with_options(delay=n).submit(f"order-{n}", cents=100 * n) for n in range(50)]
        receipts = {order.result() for order in orders}
        charges = [event.task for event in cluster.history() if event.cause == "succeed"]
    assert len(receipts) == len(charges) == len(set(charges)) == 50


def test_the_report_comes_every_night():
    with testing.cluster(shop.app) as cluster:
        shop.report.schedule("report", When(cron="0 3 * * *", zone="Europe/Berlin"), "yesterday")
        cluster.advance("7d")
        nights = [event.task for event in cluster.history() if event.cause == "succeed"]
    assert len(nights) == 7
