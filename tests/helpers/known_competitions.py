"""The competitions that come with the package."""

from kaggle_tools.competitions.toml_file import packaged_competition

CARVANA = packaged_competition("carvana-image-masking-challenge")
SALT = packaged_competition("tgs-salt-identification-challenge")
STEEL = packaged_competition("severstal-steel-defect-detection")
CLOUDS = packaged_competition("understanding_cloud_organization")
