"""Images and truths in the order of a plan go in; trained weights come out."""
