"""One HTML page that people look at: how good is it, can it be trusted, where does it fail, is it better than the last.

writing.py      what a page is about, and where it goes
page.py         values and templates to one file that needs no network
runs.py         what is said of a run, from RUN
checks.py       whether its score can be trusted
comparisons.py  what is said of runs beside each other
predictions.py  what is said of masks without the truth, from PRED
submissions.py  what is said of all submissions, from the ledger
figures.py      plots in the page's own colours
pictures.py     photos with outlines and errors

Nothing here loads torch, and nothing computes a score: these come from `summary` and `comparison`.
"""
