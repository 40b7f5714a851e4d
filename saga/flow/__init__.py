"""The choreography, from its services' declarations: shown, verified, and turned into topics and access rights."""
