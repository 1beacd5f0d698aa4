"""Learning errors from networks that were measured: features, and regressions over them."""
