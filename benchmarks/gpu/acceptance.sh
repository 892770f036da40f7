#!/usr/bin/env bash
# The acceptance on a real GPU, in one call of under ten minutes: tests, then measurements, the most telling first.
#
#   bash benchmarks/gpu/acceptance.sh                # every step, in order of value
#   bash benchmarks/gpu/acceptance.sh tests study    # only these
#
# Run it in the repository's root. Every step has a limit of its own, and never more than is left of BUDGET seconds; one
# that fails or hangs does not stop the next. OUT gets at most eight files: summary.txt (a line a step) and the logs.
# Wheels in .whl/ are installed first, for a machine without a package index. Without a GPU, DEVICE=cpu makes a dry run.
set -uo pipefail

[ -d maskcls ] || { echo "Run this in the repository's root." >&2; exit 2; }
HERE=$PWD/benchmarks/gpu
OUT=${OUT:-/tmp/gpu-acceptance/out}
WORK=${WORK:-/tmp/gpu-acceptance/work}
BUDGET=${BUDGET:-565}
PY=${PY:-python3}
ONLY="$*"
export HERE OUT WORK PY
export DEVICE=${DEVICE:-cuda}
export CELLS=${CELLS:-"resnet18:224:32 mobilenetv3_small_050:128:32 efficientnet_b3:224:32 vit_small_patch16_224:224:32"}
export CROWD=${CROWD:-resnet18:224:32 mobilenetv3_small_050:128:32} # cells that are trained by several at once
export PYTHONUNBUFFERED=1 HF_HUB_OFFLINE=1 OMP_WAIT_POLICY=PASSIVE
mkdir -p "$OUT" "$WORK"

note() { printf '%4d s  %s\n' "$SECONDS" "$*" | tee -a "$OUT/summary.txt"; }
wanted() { [ -z "$ONLY" ] || [[ " $ONLY " == *" $1 "* ]]; }

step() { # NAME LIMIT LOG COMMAND...
    local name=$1 limit=$2 log=$OUT/$3 room from=$SECONDS status=0
    shift 3
    wanted "$name" || return 0
    room=$((BUDGET - SECONDS - 8)) # the last lines below, and what a killed command takes to go
    if [ "$room" -lt 15 ]; then note "$name: SKIPPED, $room s left"; return 0; fi
    [ "$limit" -gt "$room" ] && limit=$room
    printf '\n===== %s: %s (limit %s s)\n' "$name" "$*" "$limit" >>"$log"
    timeout --signal=TERM --kill-after=6 "$limit" "$@" >>"$log" 2>&1 || status=$?
    case $status in 0) status=ok ;; 124 | 137) status="OUT OF TIME ($limit s)" ;; *) status="FAILED ($status)" ;; esac
    note "$name: $status, $((SECONDS - from)) s -> $(basename "$log")"
}

export PYTHONPATH=$PWD
if compgen -G ".whl/*.whl" >/dev/null; then
    if timeout 90 "$PY" -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --upgrade \
        --target "$WORK/site" .whl/*.whl >"$WORK/pip.log" 2>&1; then note "install: ok"; else note "install: FAILED"; cat "$WORK/pip.log"; fi
    export PYTHONPATH=$PWD:$WORK/site
fi

if wanted engine; then # 2,100 drawn photos, by one core beside the first steps
    "$PY" -c "from pathlib import Path; from maskcls.data.synthetic import draw_dataset
draw_dataset(Path('$WORK/drawn/photos'), num_people=300)" >"$WORK/draw.log" 2>&1 &
fi

facts() {
    nvidia-smi || true
    nvidia-smi -L || true
    nproc; free -g | head -2; df -h /tmp | tail -1
    "$PY" "$HERE/facts.py"
}

stamped() { while IFS= read -r line; do printf '%4d s  %s\n' "$SECONDS" "$line"; done; }

study() { # end to end: a study, resumed, export, and training again to the same score
    local runs=$WORK/runs status=0 name
    set -o pipefail
    "$PY" -m search.run --study quickstart --n-trials 4 --device "$DEVICE" --runs "$runs" | stamped || status=$?
    echo "--- what was timed"; cat "$runs/cache/numerics/found.json" 2>/dev/null
    "$PY" -m search.run --study quickstart --n-trials 6 --device "$DEVICE" --workers 1 --runs "$runs" | stamped || status=$?
    "$PY" -m search.export --study quickstart -o "$WORK/best.toml" --runs "$runs" || status=$?
    "$PY" -m maskcls.train --config "$WORK/best.toml" --data synthetic -o "$WORK/again" --runs "$runs" | stamped || status=$?
    for name in "$runs"/quickstart/trial-*/crash.txt "$runs"/quickstart/logs/*.log; do
        [ -f "$name" ] && { echo "--- $name"; tail -n 25 "$name"; }
    done
    return $status
}

engine() { # BACKBONE: whole studies against an expert's scripts
    for _ in $(seq 60); do [ -e "$WORK/drawn/photos/train.csv" ] && break; sleep 1; done
    "$PY" benchmarks/engine.py --data "$WORK/drawn/photos" --backbones "$1" --image-size 224 --device "$DEVICE" \
        --epochs 20 --trials 4 --rounds 1 --arms once tuned --work "$WORK/engine" -o "$OUT/engine-$1.json"
}
export -f facts stamped study engine

# name       limit  log          command                                                                expected, s
step facts      45  checks.log  bash -c facts                                                           #  16
step study     120  study.log   bash -c study                                                           #  75
# shellcheck disable=SC2046
step tests     120  tests.log   "$PY" -m pytest -m gpu -n 6 -v --tb=short --durations=8 -p no:cacheprovider \
    $(grep -rl 'mark\.gpu' tests --include='test_*.py')                                                 #  85
step steps     150  steps.log   "$PY" "$HERE/steps.py"                                                  #  90
step same       60  checks.log  "$PY" "$HERE/same.py"                                                   #  40
step together  100  steps.log   "$PY" "$HERE/together.py"                                               #  90
step engine    240  engine.log  bash -c "engine resnet18"                                               # 160
step benchmark 150  steps.log   "$PY" "$HERE/steps.py" benchmark                                        #  90
step augment    90  bench.log   "$PY" benchmarks/augment.py --device "$DEVICE" --rounds 2 --seconds .1  #  40

for log in tests checks steps study engine bench; do # what the last lines should show
    [ -f "$OUT/$log.log" ] || continue
    printf '\n##### %s\n' "$log"
    case $log in
    tests) grep -E ' FAILED |^(FAILED|ERROR)|=+ .* in ' "$OUT/$log.log" | tail -n 20 ;;
    checks) grep -E 'tensors equal|FAILED|MISSING|find_gpus' "$OUT/$log.log" | cut -c1-200 | tail -n 30 ;;
    steps) grep -E '^\|' "$OUT/$log.log" | cut -c1-160 ;;
    study) grep -E '  (Study|time|best|Trial|Error)|the same|crash|"way"|photos_per' "$OUT/$log.log" | cut -c1-160 | tail -n 25 ;;
    *) grep -E '^\||Error|^#|round ' "$OUT/$log.log" | cut -c1-160 | tail -n 26 ;;
    esac
done
echo
cat "$OUT/summary.txt"
