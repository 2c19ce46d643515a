#!/usr/bin/env bash
# What needs torch, transformers and a GPU, in one run on such a machine, from the repository's root:
#
#   bench/gpu.sh OUT [SECONDS]      goldens, then the bundled model's training (SECONDS, default 300)
#
# OUT gets golden.tgz (test/golden/expected by transformers), pocket.tgz (the exported model), report.json (held-out
# accuracy), log.txt and check.txt (the export against transformers). A short table comes last.
set -u
out=$1
seconds=${2:-300}
export PYTHONUNBUFFERED=1
mkdir -p "$out"

(cd test/golden && timeout 90 python3 make_golden.py /tmp/golden) 2>/dev/null | tee "$out/golden.txt"
tar czf "$out/golden.tgz" -C /tmp golden

timeout $((seconds + 210)) python3 models/pocket/train/train.py --device cuda --seconds "$seconds" \
  --tokenizer models/pocket/tokenizer.json --documents 1200000 \
  --eval-every 150 --final-count 400 --out /tmp/pocket-run > "$out/log.txt" 2>&1 || echo "training: exit $?"
tail -n 40 "$out/log.txt"
if [ -d /tmp/pocket-run/pocket ]; then
  tar czf "$out/pocket.tgz" -C /tmp/pocket-run pocket
  cp /tmp/pocket-run/report.json "$out/" 2>/dev/null
  timeout 45 python3 models/pocket/train/check_transformers.py /tmp/pocket-run/pocket > "$out/check.txt" 2>&1
  tail -n 5 "$out/check.txt"
fi
