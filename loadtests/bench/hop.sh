#!/usr/bin/env bash
# A balancer and a node of its own, against HAProxy (one thread) before a bare actix-web route,
# side by side: each round measures HAProxy, Tidepool and HAProxy again, and the ratio is Tidepool
# over the mean of its neighbours. The hop's price is the p50 over that of Tidepool in one process,
# at one connection: with more of them a p50 tells of queues.
# Needs wrk and haproxy.
#
#   loadtests/bench/hop.sh [ROUNDS] [SECONDS]
set -euo pipefail
cd "$(dirname "$0")/../.."
rounds=${1:-5} seconds=${2:-3}
export PATH="$PATH:/usr/sbin"
for tool in wrk haproxy; do
  command -v $tool >/dev/null || { echo "$tool is missing: apt-get install $tool" >&2; exit 1; }
done

cargo build --release --quiet
cargo build --release --quiet -p tidepool-balancer --example bare_route
work=$(mktemp -d)
trap 'kill "${pids[@]}" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$work"' EXIT
pids=()
export TIDEPOOL_HTTP__THREADS=1 TIDEPOOL_NODE__THREADS=1

started() { for _ in $(seq 200); do [ -s "$1" ] && return; sleep 0.05; done; cat "$work"/*.log >&2; exit 1; }
named() { sed -n "s/.*\"$2\":\"\([^\"]*\)\".*/\1/p" "$work/$1"; }
# role, name of its output, further flags
tidepool() {
  TIDEPOOL_STORE__PATH="$work/$2.data" target/release/tidepool "$1" "${@:3}" --api-addr 127.0.0.1:0 \
    --operator-addr 127.0.0.1:0 -o jsonl >"$work/$2" 2>"$work/$2.log" & pids+=($!)
  started "$work/$2"
}

target/release/examples/bare_route >"$work/bare" & pids+=($!)
started "$work/bare"
bare=$(cat "$work/bare")
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
cat >"$work/haproxy.cfg" <<CFG
global
  nbthread 1
  maxconn 4096
defaults
  mode http
  http-reuse always
  timeout connect 1s
  timeout client 30s
  timeout server 30s
frontend clients
  bind 127.0.0.1:$port
  default_backend nodes
backend nodes
  server bare $bare
CFG
haproxy -f "$work/haproxy.cfg" 2>"$work/haproxy.log" & pids+=($!)

TIDEPOOL_NODE__ADDR=127.0.0.1:0 tidepool node node
printf '[cluster]\nnodes = ["%s"]\n' "$(named node node)" >"$work/cluster.toml"
tidepool balancer balancer -c "$work/cluster.toml"
tidepool serve single
ours="$(named balancer api)/v1/invoke/echo" single="$(named single api)/v1/invoke/echo"
proxied="http://127.0.0.1:$port/echo"
for url in "$proxied" "$ours" "$single"; do
  curl -fsS --retry 50 --retry-all-errors --retry-delay 1 -X POST -H 'content-type: application/json' \
    -d '{"text":"x"}' "$url" >/dev/null
done

measure() { wrk -t1 -c"$1" -d"${seconds}s" --latency -s loadtests/bench/post.lua "$2" | sed -n 's/^RESULT //p'; }
median() { printf '%s\n' "$@" | sort -n | awk '{v[NR]=$1} END {print (v[int((NR+1)/2)]+v[int(NR/2)+1])/2}'; }

echo "date $(date -u +%F), $(nproc) cores, $(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -1), $(rustc --version), $(haproxy -v | head -1), $rounds rounds of $seconds s"
for connections in 1 16 64; do
  echo "connections $connections: requests/s, p50 us, p99 us, errors (haproxy | balancer and node | haproxy | one process)"
  rates=() tails=() hops=()
  for _ in $(seq "$rounds"); do
    before=$(measure $connections "$proxied"); two=$(measure $connections "$ours")
    after=$(measure $connections "$proxied"); one=$(measure $connections "$single")
    line=$(echo "$before $two $after $one" |
      awk '{printf "%.3f %.3f %.1f", $5/(($1+$9)/2), $7/(($3+$11)/2), $6-$14}')
    read -r rate tail hop <<<"$line"
    echo "  $before | $two | $after | $one  requests/s x$rate p99 x$tail hop p50 $hop us"
    rates+=("$rate") tails+=("$tail") hops+=("$hop")
  done
  echo "  median requests/s x$(median "${rates[@]}"), p99 x$(median "${tails[@]}"), hop p50 $(median "${hops[@]}") us"
done
