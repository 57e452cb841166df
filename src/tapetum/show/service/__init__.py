"""The service: requests with images over HTTP → answers, by a predictor that is handed in. Needs the extra ``serve``."""
