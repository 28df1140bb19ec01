"""Networks of segmentation-models-pytorch, whose encoders others designed and trained."""
