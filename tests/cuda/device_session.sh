#!/bin/bash
# One stay on a machine with a GPU: build, compile, check, measure. `make device`, or bash tests/cuda/device_session.sh
#
# It takes the Python at hand (PY=python3) with CuPy, and torch with torchvision where they are there; it installs
# nothing and asks no network. All is over after LIMIT seconds (470): of these the checks take CHECKS at the most (160),
# the races RACES (180). BUILT=1: the extensions are there already. A step that fails, or whose tool is missing, is noted,
# and the next one begins. OUT (build/device) has what there is by then, also where the whole is cut off:
#
#   steps         a line for each step: how it ended, its seconds, the last line that it wrote
#   session.log   what the steps wrote, in turn
#   memcheck.log, racecheck.log, synccheck.log, initcheck.log    what compute-sanitizer has to say
#   bench.json    the races against torchvision, as far as they went
set -u
cd "$(dirname "$0")/../.." || exit 1
PY=${PY:-python3}
OUT=${OUT:-build/device}
mkdir -p "$OUT" && OUT=$(cd "$OUT" && pwd) || exit 1
END=$((SECONDS + ${LIMIT:-470}))
CHECKS=${CHECKS:-160} RACES=${RACES:-180}
export PYTHONUNBUFFERED=1 PYTHONPATH=$PWD/src:$PWD/tests${PYTHONPATH:+:$PYTHONPATH} PATH=$PATH:/usr/local/cuda/bin
export CUPY_CACHE_DIR=${CUPY_CACHE_DIR:-${TMPDIR:-/tmp}/roicy-device-cupy}
rm -f "$OUT"/{steps,session.log,{mem,race,sync,init}check.log,bench.json}

# step NAME SECONDS COMMAND ...: run a command for so long at the most, and note how it ended
step() {
    local name=$1 most=$2 start=$SECONDS left=$((END - SECONDS)) log=$OUT/${LOG:-session.log} status
    shift 2
    if ! command -v "$1" >/dev/null; then
        note "$name" "left out" 0 "$1 is not there"
        return
    elif [ "$left" -lt 5 ]; then
        note "$name" "left out" 0 "no time is left"
        return
    fi
    [ "$left" -lt "$most" ] && most=$left
    printf '\n==== %s: %s\n' "$name" "$*" >>"$log"
    timeout -k 5 "$most" "$@" >>"$log" 2>&1 </dev/null
    status=$?
    case $status in
        0) status="done" ;;
        124 | 137) status="cut off" ;;
        *) status="failed, $status" ;;
    esac
    note "$name" "$status" $((SECONDS - start)) "$(tail -n 30 "$log" | grep -v '^ *$' | tail -n 1 | cut -c1-110)"
}
note() { printf '%-18s %-12s %4d s  %s\n' "$@" | tee -a "$OUT/steps"; }
has() { "$PY" -c "import $1" 2>/dev/null; }

about='
    nvidia-smi
    "$PY" -c "import cupy; cupy.show_config()"
    "$PY" -m pip list 2>/dev/null |
        grep -iE "^(cupy|torch|numpy|nvidia-cuda|ml.dtypes|cython|setuptools|pytest|hypothesis|roicy)"
    gcc --version | head -1
    nproc'
build='
    [ "${BUILT:-}" = 1 ] || "$PY" setup.py build_ext --inplace -j "$(nproc)" || echo "not built; perhaps it is there already"
    "$PY" -c "import roicy; roicy.show_config()"'
export PY

# All of the tests' promises but one: a warning of what else is installed here is no failure of ours.
TEST=("$PY" -m pytest -q -W default -p no:cacheprovider --hypothesis-profile=few)
has pytest_timeout && TEST+=(--timeout 100)
BESIDE=(-m "not slow")
has xdist && BESIDE+=(-n $((($(nproc) + 1) / 2)))

step about 30 bash -c "$about"
step build 150 bash -c "$build"
step compile 90 "$PY" tests/cuda/device_calls.py warm
for tool in memcheck racecheck synccheck initcheck; do
    LOG=$tool.log step $tool "$CHECKS" compute-sanitizer --tool $tool --error-exitcode 9 --print-limit 20 \
        "$PY" tests/cuda/device_calls.py --seconds $((CHECKS - 20)) &
done
step "device tests" "$CHECKS" "${TEST[@]}" tests/cuda/test_cuda_device.py --durations=8
wait
step bench "$RACES" "$PY" benchmarks/gpu.py --rounds 7 --seconds $((RACES - 20)) --output "$OUT/bench.json"
step "tests of backends" 200 env OMP_NUM_THREADS=2 "${TEST[@]}" "${BESIDE[@]}" -k "device and not cuda_device" \
    $(grep -lrw backend tests --include='test_*.py')
step profile 75 ncu --clock-control none --profile-from-start off --launch-count 60 --section SpeedOfLight \
    --section Occupancy --section MemoryWorkloadAnalysis --section WarpStateStats --section SchedulerStats \
    "$PY" benchmarks/gpu.py --once --seconds 45

echo
grep -hE '^(FAILED|ERROR|failed:|results differ:)|: WRONG: ' "$OUT"/*.log | cut -c1-160 | sort -u | head -n 30
grep -hE '^[a-z0-9_]+, [a-z ]+: roicy ' "$OUT/session.log" | cut -c1-160
echo
cat "$OUT/steps"
! grep -qv ' done ' "$OUT/steps"
