#!/usr/bin/env bash
# Builds the CUDA back end for the card at hand on the GPU machine itself, where many cores do it in a minute or two:
#   bench/gpu_build.sh TARGET...        into build/gpu/Release; without node at hand only the test programs can be built
set -eu
node=$(command -v node || echo /bin/true)
cmake -S . -B build/gpu -G Ninja -DCMAKE_BUILD_TYPE=Release -DHOTPATH_CUDA=ON \
  "-DHOTPATH_CUDA_ARCHS=${HOTPATH_CUDA_ARCHS:-90a}" "-DNODE_EXECUTABLE=$node" > /tmp/gpu-configure.log 2>&1 ||
  { tail -n 20 /tmp/gpu-configure.log; exit 1; }
start=$(date +%s)
ninja -C build/gpu -k 0 "$@" > /tmp/gpu-build.log 2>&1 || { grep -E 'error|FAILED' /tmp/gpu-build.log | head -n 40; exit 1; }
echo "built in $(($(date +%s) - start)) s"
