"""How good a classifier is: probabilities and labels in, numbers out."""
