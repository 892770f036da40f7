"""A hyperparameter search: a study asks a question, workers run its trials, the answer comes with what it rests on.

The path of a trial, folder by folder; each imports only from those before it (tests/test_layers.py):

- system, database: processes, signals, clocks; the studies' database, which may go away and come back
- study: what is asked: the words of a study file, its space, the document that is stored (record.py)
- policy: what to try next, when to stop a trial, and when a study has had enough
- storage: the queue of trials, failures, and what trials leave on the disk
- answer: from trials to numbers and words: levels compared, the best corrected for its choice, confirmation
- terminal, page: what a person reads: on the terminal, and in the report
- worker: a process that takes trial after trial (worker.py: the main loop) and runs each (objective.py), which trains
  it by ``fit`` of maskcls/training/loop.py, and reports, prunes and stores on the way
- supervisor: starts the workers of a command, replaces those that die, ends them; web: serves the dashboard
- run.py and its neighbours: the commands; each takes options and makes one call

To add

- a command: a module here with ``main``, of options (terminal/options.py has the shared ones) and one call; then the
  README, tests/test_docs.py and tests/commands/test_help.py
- a sampler: SAMPLERS in policy/samplers.py; a pruner: policy/pruning.py
- a section of the report: page/build.py; a kind of block: page/blocks.py
- a hyperparameter or an augmentation: the docstring of maskcls; a study may search it at once
- a question: a file of studies/
"""
