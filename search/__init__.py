"""Hyperparameter search: a study asks a question, workers run its trials, and the answer comes with its evidence.

The path of a trial, folder by folder; each imports only from those before it (tests/test_layers.py):

- system, database: processes, signals, clocks; the study database, which may be away for a while
- study: the question: what a study file says, its search space, the document that is stored (record.py)
- policy: what to try next, when to prune a trial, when to stop a study
- files: the small files of trials in a database that machines share without sharing a folder
- storage: the queue of trials, failures, the files of trials, the looks at rounds, the test
- team: a team of models that is trained again: its file, and what its judges say
- answer: the parts of an answer in numbers: rounds, a confirmation, several models together; numbers as text
- findings: from trials to the answer, in words: levels compared, the best trial corrected for its choice; the state of
  studies, the recipe to export
- terminal, page: what a person reads, on the terminal and in the report
- worker: a process that takes trial after trial (worker.py: the main loop) and runs each (objective.py): it trains by
  ``fit`` of maskcls/training/loop.py, and reports, prunes and stores on the way
- gpus: the GPUs of this machine, who holds them, and how several workers share one
- supervisor: starts a command's workers, replaces those that die, stops them; engines: Ray starts them elsewhere
- web: serves the dashboard; postgres: a team's database server: its programs, its folder, its data
- run.py and its neighbours: the commands; each declares options and makes one call

To add

- a command: a module here with ``main``: options (terminal/options.py has the shared ones) and one call; then the
  README, COMMANDS in docs/reference.py
- a sampler: SAMPLERS in policy/samplers.py; a pruner: policy/pruning.py
- a section of the report: page/build.py; a kind of block: page/blocks.py
- a hyperparameter or an augmentation: the docstring of maskcls; a study may search it at once
- an engine: engines/; a Cluster of remote_run.py is enough
- a question: a file of studies/
"""
