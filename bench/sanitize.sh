#!/usr/bin/env bash
# The op cases under compute-sanitizer on a GPU: memcheck over cases of every kernel, racecheck over the small ones
# of those that share memory between threads. From the repository's root, after npm run build:cuda; about 3 minutes:
#
#   bench/sanitize.sh [FILTER ...]      other cases instead, with both tools
#
# Exit code 1 if a tool or a case found something.
set -u
program=build/Release/hotpath_ops
sanitizer=$(command -v compute-sanitizer || echo /usr/local/cuda/bin/compute-sanitizer)
[ -x "$program" ] || { echo "$program is missing: npm run build:cuda"; exit 2; }
[ -x "$sanitizer" ] || { echo "compute-sanitizer is missing: it comes with the CUDA toolkit"; exit 2; }

# --filter takes a part of a name; kernels run tens of times slower here, so that the parts name single cases.
memcheck=(
  "gemm bf16 m=25 n=37 k=200"
  "gemm bf16 m=1..300 n=128 k=72"
  "gemm bf16 m=1..300 n=256 k=512"
  "gemm bf16 m=1..300 n=2050 k=136"
  "gemm_silu_mul bf16 m=1..300 n=48 k=72"
  "gemm_silu_mul bf16 m=1..300 n=500 k=520"
  "add_rmsnorm bf16 t=5 h=4096"
  "embed and gather bf16"
  "qk_norm_rope_store bf16 heads=14/2"
  "paged_attention steps bf16 heads=14/2 d=64"
  "paged_attention steps bf16 heads=8/2 d=128"
  "paged_attention cut long bf16 heads=8/2 d=128 block=16"
  "paged_attention odd sizes bf16"
  "moe_experts bf16 t=33"
  "moe_route t=70"
  "sample rules vocab=130"
  "sample batch invariance"
  "steps through run"
)
racecheck=(
  "gemm bf16 m=1..300 n=128 k=72"
  "gemm bf16 m=1..300 n=256 k=512"
  "gemm_silu_mul bf16 m=1..300 n=48 k=72"
  "add_rmsnorm bf16 t=5 h=896"
  "paged_attention steps bf16 heads=8/8 d=64"
  "paged_attention steps bf16 heads=2/2 d=128"
  "paged_attention cut short bf16 heads=14/2 d=64"
  "moe_experts bf16 t=7 e=16"
  "moe_route t=9 "
  "sample rules vocab=130"
)
if [ $# -gt 0 ]; then memcheck=("$@") racecheck=("$@"); fi

# Each check is a process of its own; JOBS of them at a time (default 4) share the GPU.
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
check() {  # tool filter [flag ...]
  local tool=$1 filter=$2 log
  shift 2
  log=$(timeout 240 "$sanitizer" --tool "$tool" --error-exitcode 9 --print-limit 5 "$program" \
    --device cuda:0 --activations bf16 --filter "$filter" "$@" 2>&1)
  local status=$?
  printf '%-10s %-48s %-9s %s: %s\n' "$tool" "$filter" "$*" \
    "$([ $status = 0 ] && echo ok || echo "FAILED ($status)")" "$(tail -n 1 <<<"$log")"
  if [ $status != 0 ]; then
    touch "$logs/failed"
    grep -v '^ok' <<<"$log" | head -n 40
  fi
}
number=0
start() {
  while [ "$(jobs -rp | wc -l)" -ge "${JOBS:-4}" ]; do wait -n; done
  number=$((number + 1))
  check "$@" > "$logs/$number.txt" &
}
for filter in "${memcheck[@]}"; do start memcheck "$filter"; done
for filter in "${memcheck[@]:0:6}"; do start memcheck "$filter" --isa portable; done
for filter in "${racecheck[@]}"; do start racecheck "$filter"; done
for filter in "${racecheck[@]:0:2}"; do start racecheck "$filter" --isa portable; done
wait
for i in $(seq $number); do cat "$logs/$i.txt"; done
[ ! -e "$logs/failed" ]
