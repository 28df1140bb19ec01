"""Plots and photos, drawn for a page."""
