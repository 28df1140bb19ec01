"""One HTML page for people to look at: how good is it, can it be trusted, where does it fail, is it better than others.

writing.py          what a page is about, and where it goes
places.py           where pages lie, if nobody says otherwise
page.py             values and templates to one file that needs no internet
live.py             the page of a run while it is trained, written by a process of its own
trust.py            whether a run's score can be trusted
parts/run.py            what is said of a run, from RUN
parts/progress.py       what is said of a run that is not finished, from RUN
parts/comparison.py     what is said of runs beside each other
parts/masks.py          what is said of masks without the truth, from PRED
parts/submissions.py    what is said of all submissions, from the ledger
graphics/axes.py        ticks with room for their labels, and ends of axes
graphics/svg.py         how a figure becomes SVG in the page's own colours
graphics/figures.py     the figures of runs and masks
graphics/submission_figures.py  those of submissions
graphics/pictures.py    photos with outlines and errors
templates/          the page's HTML, style and script

Nothing here loads torch, and nothing computes a score: these come from `results`.
"""
