"""`saga chaos`: orders flow while everything breaks, and at the end the laws must hold."""
