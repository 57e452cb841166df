"""Images and truths in, networks and probabilities out: runtime, models, features, training, inference."""
