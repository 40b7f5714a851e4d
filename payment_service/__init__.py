"""The payment service: charges orders, and gives the money back when they are cancelled.

| hears           | does                                                   | says                             |
|-----------------|--------------------------------------------------------|----------------------------------|
| order.created   | charges the customer, once                             | payment.charged / payment.failed |
|                 | if it was cancelled before: gives back what was taken  | payment.refunded                 |
| order.cancelled | gives back what was charged, and charges nothing later | payment.refunded                 |

States: charged, then perhaps refunded; or declined; or cancelled, when the cancellation came before any charge.
It keeps one table, `payment`, and asks a payment provider through the port in gateway.py.
"""
