#!/bin/bash
# An array of workers for a study that another command has planned, each task with one GPU of its own:
#   export MASKCLS_STORAGE=...    STUDY=dropout sbatch deploy/slurm.sh
#SBATCH --job-name=mask-search
#SBATCH --array=0-7
#SBATCH --gres=gpu:1
#SBATCH --cpus-per-task=8
#SBATCH --mem=32G
#SBATCH --time=08:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=TERM@120
# SIGTERM comes two minutes before the end of the time: the trial finishes its evaluation and goes back into the queue.
srun python -m search.run --study "$STUDY" --join
status=$?
# 130: stopped in order, with trials left. Preempted jobs are queued again by Slurm itself.
[ "$status" -ne 130 ] || scontrol requeue "$SLURM_JOB_ID"
exit "$status"
