"""The competitions that come with the package."""

from dataclasses import replace

from kaggle_tools.competitions.toml_file import packaged_competition
from kaggle_tools.metrics import BY_NAME

CARVANA = packaged_competition("carvana-image-masking-challenge")
SALT = packaged_competition("tgs-salt-identification-challenge")
STEEL = packaged_competition("severstal-steel-defect-detection")
CLOUDS = packaged_competition("understanding_cloud_organization")

POOLED = replace(CARVANA, slug="all-pixels", score_name="global Dice", score=BY_NAME["global Dice"])
"""Scored over all pixels, as no competition of the package is."""
