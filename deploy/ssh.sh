#!/bin/bash
# deploy/ssh.sh STUDY HOST...: a worker on every host, for a study that another command has planned.
# MASKCLS_STORAGE is set here; every host has the project in ~/mask-search with its .venv, and the photos where they
# were when it was planned. Output goes to join.log; `ssh HOST pkill -f "search.run --study STUDY"` stops in order.
set -eu
study=$(printf %q "$1")
shift
for host in "$@"; do
    # the storage with its password goes through stdin: arguments are seen by all users of both machines
    # shellcheck disable=SC2029  # the study is meant to be filled in here
    ssh "$host" "read -r MASKCLS_STORAGE && export MASKCLS_STORAGE && cd mask-search || exit
        nohup .venv/bin/python -m search.run --study $study --join >>join.log 2>&1 </dev/null &" \
        <<<"${MASKCLS_STORAGE:?}"
    echo "$host joins"
done
