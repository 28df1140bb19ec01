"""Blank and full masks among predicted ones: whether there are about as many as there should be.

One judgement for masks that were just made, for their page, and for a CSV before it is submitted.
"""

from math import sqrt

from kaggle_tools.competitions.competition import Competition
from kaggle_tools.errors import counted_of

TOLERANCE = 0.1
"""How much the share of blank masks may differ from the usual one, and two standard errors more."""


def doubts(masks: int, blank: int, full: int, competition: Competition) -> list[str]:
    """What is odd about so many blank and full masks among these; nothing where they are about as many as usual."""
    usual = competition.blank_share
    found = []
    if blank and blank == masks:
        found.append(f"{counted_of(masks, masks, 'mask')} blank, which scores about {usual:.2f}")
    elif blank and not usual:
        found.append(f"{counted_of(blank, masks, 'mask')} blank, where every photo has foreground")
    elif masks and abs(blank / masks - usual) > TOLERANCE + 2 * sqrt(usual * (1 - usual) / masks):
        found.append(f"{counted_of(blank, masks, 'mask')} blank ({blank / masks:.0%}), where usually {usual:.0%} are")
    if full:
        found.append(f"{counted_of(full, masks, 'mask')} full, the whole photo being foreground")
    return found
