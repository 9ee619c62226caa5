"""The names that users of Cambricon's MagicMind know, on top of tenon."""
