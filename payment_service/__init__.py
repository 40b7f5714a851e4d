"""The payment service: charges orders, and refunds them when they are cancelled.

| consumes        | does                                                   | publishes                        |
|-----------------|--------------------------------------------------------|----------------------------------|
| order.created   | charges the customer, once                             | payment.charged / payment.failed |
|                 | if it was cancelled before: refunds what was charged   | payment.refunded                 |
| order.cancelled | refunds what was charged, and charges nothing later    | payment.refunded                 |

States: charged, then perhaps refunded; or declined; or cancelled, when the cancellation came before any charge.
It keeps one table, `payment`, and calls a payment provider through the port in gateway.py.
"""
