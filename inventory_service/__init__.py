"""The inventory service: sets the items of paid orders aside, and releases them when an order is cancelled.

| hears           | does                                                    | says                                     |
|-----------------|---------------------------------------------------------|------------------------------------------|
| order.created   | remembers the items until the money is there, or, if it | inventory.reserved /                     |
|                 | came first, reserves all items or none                  | inventory.reservation.failed             |
| payment.charged | reserves all items or none, or, if they are not known   | inventory.reserved /                     |
|                 | yet, waits for them                                     | inventory.reservation.failed             |
| order.cancelled | releases what is set aside; sets nothing aside later    |                                          |

States: awaiting_payment or awaiting_items, then reserved or failed; cancelled. It keeps two tables, `reservation` and
`stock`.
"""
