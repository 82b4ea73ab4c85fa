#!/usr/bin/env bash
# Embedded `echo` against a bare actix-web route, side by side: each round measures bare, Tidepool
# and bare again, and the ratio is Tidepool over the mean of its neighbours. Needs wrk.
#
#   loadtests/bench/echo.sh [ROUNDS] [SECONDS] [tidepool flags...]
#
# Every variable TIDEPOOL_* of the caller applies to the server under test.
set -euo pipefail
cd "$(dirname "$0")/../.."
rounds=${1:-5} seconds=${2:-3}
shift $(( $# < 2 ? $# : 2 ))
command -v wrk >/dev/null || { echo "wrk is missing: apt-get install wrk" >&2; exit 1; }

cargo build --release --quiet
cargo build --release --quiet -p tidepool-balancer --example bare_route
work=$(mktemp -d)
trap 'kill "${pids[@]}" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$work"' EXIT
pids=()

target/release/examples/bare_route >"$work/bare" & pids+=($!)
TIDEPOOL_STORE__PATH="$work/data" TIDEPOOL_HTTP__THREADS=1 \
  target/release/tidepool --api-addr 127.0.0.1:0 --operator-addr 127.0.0.1:0 -o jsonl "$@" \
  >"$work/tidepool" 2>"$work/log" & pids+=($!)
for _ in $(seq 200); do
  [ -s "$work/bare" ] && [ -s "$work/tidepool" ] && break
  sleep 0.05
done
bare="http://$(cat "$work/bare")/echo"
tidepool="$(sed -n 's/.*"api":"\([^"]*\)".*/\1/p' "$work/tidepool")/v1/invoke/echo"
[ "$tidepool" != /v1/invoke/echo ] || { cat "$work/log" >&2; exit 1; }
curl -fsS -X POST -H 'content-type: application/json' -d '{"text":"x"}' "$tidepool" >/dev/null

measure() { wrk -t1 -c"$1" -d"${seconds}s" --latency -s loadtests/bench/post.lua "$2" | sed -n 's/^RESULT //p'; }

echo "date $(date -u +%F), $(nproc) cores, $(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -1), $(rustc --version), $rounds rounds of $seconds s"
for connections in 16 64; do
  echo "connections $connections: requests/s, p50 us, p99 us, errors (bare before | tidepool | bare after) and ratio"
  ratios=() added=()
  for _ in $(seq "$rounds"); do
    before=$(measure $connections "$bare"); ours=$(measure $connections "$tidepool"); after=$(measure $connections "$bare")
    line=$(echo "$before $ours $after" | awk '{printf "%.3f %.1f", $5/(($1+$9)/2), $6-($2+$10)/2}')
    echo "  $before | $ours | $after  ratio ${line% *} added p50 ${line#* } us"
    ratios+=("${line% *}") added+=("${line#* }")
  done
  median() { printf '%s\n' "$@" | sort -n | awk '{v[NR]=$1} END {print (v[int((NR+1)/2)]+v[int(NR/2)+1])/2}'; }
  echo "  median ratio $(median "${ratios[@]}"), median added p50 $(median "${added[@]}") us"
done
