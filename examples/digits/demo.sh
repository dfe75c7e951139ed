#!/usr/bin/env bash
# The whole path: train an elastic network, compile, profile, select for two latency budgets,
# export, and serve the held-out images while switching. Leaves everything in the folder given.
set -euo pipefail
out=${1:-build/demo}
here=$(dirname "${BASH_SOURCE[0]}")
mkdir -p "$out"
# The table is made anew: an old one would be of this device, but perhaps of another state of it.
rm -f "$out/lut.db"

step() { printf '\n== %s\n' "$*"; }
hw() { printf '$ hwnas %s\n' "$*"; hwnas "$@"; }

step "1/7 train: depth 1 to 8, feed-forward width in quarters, one set of weights"
python "$here/train.py" --out "$out"

step "2/7 compile: every block once"
hw compile "$here/model.py:supernet" --weights "$out/weights.safetensors" -o "$out/net.hwnas"

step "3/7 profile: measure each kind of block on this machine"
hw profile "$out/net.hwnas" --target cpu -o "$out/lut.db"

step "4/7 select: the best subnet within a half and a quarter of the full network's latency"
hw select "$out/net.hwnas" --lut "$out/lut.db" --quality "$out/quality.csv" \
    --include max --tier half:p50=50% --tier quarter:p50=25% -o "$out/plan.json"

step "5/7 export: one ONNX file per subnet, all over one weights file"
hw export "$out/net.hwnas" --plan "$out/plan.json" --to onnx -o "$out/onnx"

step "6/7 export: the switchable bundle, verified against ONNX and torch"
hw export "$out/net.hwnas" --plan "$out/plan.json" --to bundle -o "$out/bundle" \
    --verify --supernet "$here/model.py:supernet"

step "7/7 serve the held-out images, switching at every one"
python "$here/serve.py" "$out/bundle" --plan "$out/plan.json"
