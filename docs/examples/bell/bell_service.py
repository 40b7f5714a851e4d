"""The smallest service: it rings for every confirmed order, keeps nothing and publishes nothing."""

import sys

from eventbus import Service, reacts_to, service_cli
from schemas import OrderConfirmed


class BellService(Service[None]):
    """Rings for every confirmed order."""

    name = "bell-service"

    @reacts_to(OrderConfirmed, read_only=True)
    def ring(self, confirmed: OrderConfirmed, _nothing: None) -> None:
        """Print the order's id."""
        sys.stdout.write(f"ring: {confirmed.order_id}\n")


if __name__ == "__main__":
    service_cli(BellService)(prog_name="bell-service")
