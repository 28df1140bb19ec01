"""Photos and masks, from their files to what a model is trained on.

listing.py         which photos and masks there are
images.py          files to pixels and back
draw_outlines.py   outlines and wrong pixels drawn into a photo
datasets.py        photos to tensors, in worker processes
augment.py         random changes of photo and mask alike
folds.py           photos to folds
archives.py        zip files to the competition's data folder
"""
