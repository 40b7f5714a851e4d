"""The inventory service: sets the items of paid orders aside, and releases them when an order is cancelled.

| consumes        | does                                                    | publishes                                |
|-----------------|---------------------------------------------------------|------------------------------------------|
| order.created   | stores the items until the order is paid, or, if it was | inventory.reserved /                     |
|                 | paid first, reserves all items or none                  | inventory.reservation.failed             |
| payment.charged | reserves all items or none, or, if they are not known   | inventory.reserved /                     |
|                 | yet, waits for them                                     | inventory.reservation.failed             |
| order.cancelled | releases what is reserved; reserves nothing later       | inventory.released                       |

States: awaiting_payment or awaiting_items, then reserved or failed; cancelled. It keeps two tables, `reservation` and
`stock`.
"""
