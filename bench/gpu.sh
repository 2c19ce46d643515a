#!/usr/bin/env bash
# What needs a GPU, from the repository's root of such a machine:
#
#   bench/gpu.sh goldens OUT             what transformers computes for test/golden: OUT/golden.tgz
#   bench/gpu.sh train OUT [SECONDS]     the bundled model's training (default 300 s): OUT/pocket.tgz, report.json
#   bench/gpu.sh tests OUT [STAGES]      the tests on DEVICE=cuda with the addon in build/Release as it is
#                                        (default ops,golden,engine,api)
#   bench/gpu.sh bench OUT [PARTS]       models and serving (default qwen2.5-0.5b,llama-3.1-8b,qwen3-30b-a3b-12l,
#                                        prefill,serving,load); lines in OUT/bench.jsonl. PEAK=4.26: the device's TB/s, if it
#                                        is not to be probed
#   bench/gpu.sh ops OUT                 every op alone: OUT/ops.json
#   bench/gpu.sh peers OUT               the same kernels in PyTorch: OUT/torch_kernels.json
#
# bench/collect.mjs OUT puts ops, bench and peers of one run together.
#
# goldens and peers need torch, goldens and train transformers too. Each ends with a short table. LIMIT: seconds for
# each part of tests and bench (default 150).
set -u
usage() { sed -n '2,/^set -u/{/^#/s/^# \{0,1\}//p}' "$0"; exit 2; }
[ $# -ge 2 ] || usage
command=$1
out=$2
limit=${LIMIT:-150}
export PYTHONUNBUFFERED=1
mkdir -p "$out"

goldens() {
  (cd test/golden && timeout 90 python3 make_golden.py /tmp/golden) 2>/dev/null | tee "$out/golden.txt"
  tar czf "$out/golden.tgz" -C /tmp golden
}

train() {
  local seconds=${1:-300}
  timeout $((seconds + 210)) python3 models/pocket/train/train.py --device cuda \
    --seconds "$seconds" --tokenizer models/pocket/tokenizer.json --documents 1200000 \
    --eval-every 150 --final-count 400 --out /tmp/pocket-run > "$out/log.txt" 2>&1 ||
    echo "training: exit $?"
  tail -n 40 "$out/log.txt"
  if [ -d /tmp/pocket-run/pocket ]; then
    tar czf "$out/pocket.tgz" -C /tmp/pocket-run pocket
    cp /tmp/pocket-run/report.json "$out/" 2>/dev/null
    timeout 45 python3 models/pocket/train/check_transformers.py /tmp/pocket-run/pocket \
      > "$out/check.txt" 2>&1
    tail -n 5 "$out/check.txt"
  fi
}

# Not through scripts/test.mjs: nothing is to be compiled here.
tests() {
  local failed=0 stage
  for stage in $(tr , ' ' <<< "${1:-ops,golden,engine,api}"); do
    DEVICE=${DEVICE:-cuda} timeout "$limit" node node_modules/vitest/vitest.mjs run --project "$stage" \
      > "$out/$stage.txt" 2>&1
    local status=$?
    [ $status = 0 ] || failed=1
    echo "== $stage: exit $status"
    grep -aE '^ *(Test Files|Tests|Duration) |FAIL|not ok|Error:' "$out/$stage.txt" | head -n 25
  done
  return $failed
}

bench() {
  local parts=${1:-qwen2.5-0.5b,llama-3.1-8b,qwen3-30b-a3b-12l,prefill,serving,load}
  local device=(--device "${DEVICE:-cuda}") peak=() failed=0 part
  [ -z "${PEAK:-}" ] || peak=(--peak "$PEAK")
  # Lines go to OUT/bench.jsonl, complaints to OUT/bench.err.
  run() {
    timeout "$limit" node bench/run.mjs "$@" "${device[@]}" 2>> "$out/bench.err" |
      tee -a "$out/bench.jsonl" > "$out/last.jsonl"
    [ "${PIPESTATUS[0]}" = 0 ] || { echo "FAILED: $*"; tail -n 5 "$out/bench.err"; failed=1; }
    node -e "
      const keys = ['batch', 'prompt_tokens', 'tokens_per_s', 'step_ms', 'read_tb_per_s',
        'percent_of_peak', 'tflop_per_s', 'percent_of_probe', 'wall_s', 'js_thread_percent_of_core', 'load_s',
        'load_gb_per_s', 'load_to_first_token_s', 'process_to_end_s', 'logits_hash', 'hash'];
      for (const line of require('fs').readFileSync(process.argv[1], 'utf8').split('\n')) {
        if (!line.startsWith('{')) continue;
        const row = JSON.parse(line);
        const cells = keys.filter((key) => row[key] != null).map((key) => key + '=' + row[key]);
        console.log(row.bench, row.model, ...cells);
      }" "$out/last.jsonl"
  }
  for part in $(tr , ' ' <<< "$parts"); do
    case $part in
      serving | load) run "$part" ;;
      prefill)
        for model in qwen2.5-0.5b llama-3.1-8b qwen3-30b-a3b-12l; do
          run prefill --model $model
        done ;;
      *) run decode --model "$part" "${peak[@]}" ;;
    esac
  done
  rm -f "$out/last.jsonl"
  return $failed
}

ops() {
  timeout "$limit" build/Release/hotpath_ops --bench --json --device cuda:0 > "$out/ops.json" || return 1
  node bench/collect.mjs "$out" | node -e "
    const { peaks, ops } = JSON.parse(require('fs').readFileSync(0, 'utf8'));
    console.log('peaks', JSON.stringify(peaks));
    for (const { name, us, tb_per_s, tflop_per_s, percent_of_peak, of_torch } of ops)
      console.log(name.padEnd(70), us, 'us', tb_per_s, 'TB/s', tflop_per_s, 'TFLOP/s', percent_of_peak, '%',
        of_torch ?? '');"
}

peers() {
  timeout 80 python3 bench/peers/torch_kernels.py --out "$out/torch_kernels.json" 2>&1
}

case $command in
  goldens | train | tests | bench | ops | peers) "$command" "${@:3}" ;;
  *) usage ;;
esac
