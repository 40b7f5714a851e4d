"""The inventory service: sets the items of paid orders aside, and releases them when an order is cancelled.

| hears           | does                                                                  | says                    |
|-----------------|-----------------------------------------------------------------------|-------------------------|
| order.created   | remembers the items; reserves them if the money was there first       | inventory.reserved /    |
| payment.charged | reserves all items or none, or waits for them if the money came first | ….reservation.failed    |
| order.cancelled | releases what is set aside; sets nothing aside later                  |                         |

States: awaiting_payment or awaiting_items, then reserved or failed; cancelled. It keeps two tables, `reservation` and
`stock`.
"""
