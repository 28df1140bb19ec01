"""Splitting photos into folds so that no group (no car) is ever in two of them."""

import warnings
from collections.abc import Sequence


def assign_folds(groups: Sequence[str], n_folds: int, seed: int, strata: Sequence[int] | None = None) -> list[int]:
    """The fold, 0 to n_folds - 1, of each photo, given the group of each photo.

    All photos of a group share a fold, and every fold has as many groups as the others, give or take one.
    With `strata`, the class of each photo, every fold holds about the same share of each class instead.

    Raises:
        ValueError: fewer than two folds, fewer groups than folds, or a stratum for only some photos.
    """
    from sklearn.model_selection import GroupKFold, StratifiedGroupKFold  # a third of a second, for new runs alone

    n_groups = len(set(groups))
    if n_folds < 2:
        raise ValueError(f"{n_folds} folds: at least 2 are needed, one to train on and one to validate on")
    if n_groups < n_folds:
        raise ValueError(f"{n_folds} folds need at least as many groups, but there are only {n_groups}")
    if strata is None:
        splitter = GroupKFold(n_folds, shuffle=True, random_state=seed)
    else:
        splitter = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed)
    folds = [-1] * len(groups)
    with warnings.catch_warnings():
        # A class with fewer members than there are folds cannot be in all of them, and need not be.
        warnings.filterwarnings("ignore", "The least populated class")
        for fold, (_, validation) in enumerate(splitter.split(groups, strata, groups)):
            for photo in validation:
                folds[photo] = fold
    return folds
