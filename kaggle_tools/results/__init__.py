"""The folders RUN and PRED: what is in them, and what follows from it. Nothing here loads torch."""
