"""Drawn competitions: photos with known masks, without an account or the internet.

draw.py       a competition in Kaggle's layout
subjects.py   what the photos show, by name
cars.py       cars as flat faces
studio.py     a photo of a car, and its mask
salt.py       a seismic picture with salt, and its mask
steel.py      a steel sheet with defects of four kinds, and their masks
clouds.py     clouds of four kinds over the sea, and their masks
"""
