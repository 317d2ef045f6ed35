"""What the stages share. Nothing here knows of DVC, and no part imports a stage."""
