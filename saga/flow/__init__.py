"""The choreography, from what its services declare: shown, verified, and turned into topics and access rights."""
