"""Translated data: who translates, and how labels come along. Torch-free."""
