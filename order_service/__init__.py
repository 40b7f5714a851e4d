"""The order service: takes orders, and knows how each one ended.

| hears                        | does                               | says                                  |
|------------------------------|------------------------------------|---------------------------------------|
| `order-service place`        | creates the order, pending         | order.created                         |
| inventory.reserved           | confirms the order                 | order.confirmed                       |
| payment.failed               | cancels the order                  | order.cancelled                       |
| inventory.reservation.failed | cancels the order                  | order.cancelled                       |
| payment.refunded             | notes that the money is back       |                                       |

States: pending, then confirmed or cancelled; both are final. It keeps one table, `orders`.
"""
