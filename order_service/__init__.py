"""The order service: accepts orders, and keeps the outcome of each.

| consumes                     | does                               | publishes                             |
|------------------------------|------------------------------------|---------------------------------------|
| `order-service place`        | creates the order, pending         | order.created                         |
| `order-service cancel`       | cancels the order                  | order.cancelled                       |
| inventory.reserved           | confirms the order                 | order.confirmed                       |
| payment.failed               | cancels the order                  | order.cancelled                       |
| inventory.reservation.failed | cancels the order                  | order.cancelled                       |
| payment.refunded             | stores that the charge is refunded |                                       |

States: pending, then confirmed or cancelled; both are final. It keeps one table, `orders`.
"""
