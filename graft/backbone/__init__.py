"""The pretrained network: built, given its weights, cut where training starts, compiled."""
