"""Variants x seeds of one paper -> trained, evaluated, judged, published.

``python -m shared.reproduce papers.clipsep`` runs every (variant, seed) job of a preset, side by side, skips what is
done, continues what was interrupted, and prints the results table and the verdicts. Under ``accelerate launch`` the
same command runs the jobs one after the other, each over all processes.

A paper folder offers: ``config`` (Config with a ``data`` field, EVALUATION, PRESETS, SEEDS, VARIANTS), ``data``
(LAYOUT, prepare, check), ``train.train(config, run)``, ``eval.evaluate(config, run)``, ``eval.figures(runs, folder)``
and ``claims`` (PAPER, COLUMNS, CLAIMS, REPORTED). Of a launch over several processes all call ``train`` and
``evaluate`` (what it returns counts on the main one alone); only the main one calls the others.
"""
