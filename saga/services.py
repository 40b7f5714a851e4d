"""The saga that these tools come with."""

from __future__ import annotations

from inventory_service.service import InventoryService
from order_service.service import OrderService
from payment_service.service import PaymentService

SERVICES = (OrderService, PaymentService, InventoryService)
