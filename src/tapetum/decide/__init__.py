"""From anybody's predictions to decisions that hold up: takes tables of probabilities, gives blended, calibrated, decided ones."""
