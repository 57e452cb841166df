"""What a recipe's ``model`` section says, as a network: backbone, weights, channels, heads, sharing, sequences."""
