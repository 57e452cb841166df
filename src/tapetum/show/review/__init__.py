"""The review page: a queue of images goes in, a person decides each, and the decisions come out as the table that training reads."""
