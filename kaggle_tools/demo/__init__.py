"""Drawn competitions: photos whose masks are known, without account or internet."""
