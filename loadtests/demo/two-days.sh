#!/usr/bin/env bash
# Two days within minutes: idle nights, and from 8 to 20 o'clock a load that swells to PEAK requests
# a second and ebbs away. The pool may sleep. On the first morning the first request waits for a
# worker; on the second one a worker is there before it, because the hour is known.
#
#   loadtests/demo/two-days.sh [SPEED] [PEAK]        # 720: a day in two minutes
#
# The trace is requests(h) = PEAK x 600 x sin(pi x (h - 8) / 12) from 8 to 20 o'clock and none
# otherwise, every ten minutes. Prints the decisions about the pool with the time of the demonstrated
# day. TIDEPOOL names the program (default: target/release/tidepool, which is built).
set -euo pipefail
cd "$(dirname "$0")/../.."
speed=${1:-720} peak=${2:-40}
if [ -z "${TIDEPOOL:-}" ]; then
  cargo build --release --quiet --locked
  TIDEPOOL=target/release/tidepool
fi
work=$(mktemp -d)
trap 'kill "$server" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$work"' EXIT

awk -v peak="$peak" 'BEGIN {
  print "timestamp_s,requests"; pi = atan2(0, -1)
  for (at = 0; at < 2 * 86400; at += 600) {
    h = (at % 86400 + 300) / 3600
    print at "," (h > 8 && h < 20 ? int(peak * 600 * sin(pi * (h - 8) / 12) + 0.5) : 0)
  }
}' >"$work/trace.csv"
mean=$(awk -F, 'NR > 1 { sum += $2; n++ } END { print sum / n / 600 }' "$work/trace.csv")

export TIDEPOOL_STORE__PATH="$work/data" TIDEPOOL_CONTROLLER__PATTERN_SPEED="$speed"
export TIDEPOOL_POOLS__ECHO__MIN=0 TIDEPOOL_POOLS__ECHO__MAX=8 TIDEPOOL_POOLS__ECHO__SLOTS=2
export TIDEPOOL_POOLS__ECHO__COOLDOWN_S=2
"$TIDEPOOL" --api-addr 127.0.0.1:0 --operator-addr 127.0.0.1:0 -o jsonl >"$work/banner" 2>"$work/log" &
server=$!
for _ in $(seq 300); do [ -s "$work/banner" ] && break; sleep 0.05; done
[ -s "$work/banner" ] || { cat "$work/log" >&2; exit 1; }
addr() { sed -n "s/.*\"$1\":\"http:\/\/\([^\"]*\)\".*/\1/p" "$work/banner"; }
began=$(date +%s.%N)

"$TIDEPOOL" load replay "$work/trace.csv" --speed "$speed" --mean-rate "$mean" --duration 30m \
  --body '{"sleep_ms":100}' --api-addr "$(addr api)" --operator-addr "$(addr operator)" \
  >"$work/report" 2>&1 || true
"$TIDEPOOL" events --operator-addr "$(addr operator)" --type scaling.decided --pool echo --limit 1000 \
  -o jsonl >"$work/events"
python3 - "$work/events" "$began" "$speed" <<'PY'
import datetime, json, sys
path, began, speed = sys.argv[1], float(sys.argv[2]), float(sys.argv[3])
for line in open(path):
    event = json.loads(line)
    at = datetime.datetime.fromisoformat(event["time"].replace("Z", "+00:00")).timestamp()
    minutes = int((at - began) * speed / 60)
    day, hour, minute = minutes // 1440 + 1, minutes // 60 % 24, minutes % 60
    data = event["data"]
    print(f"day {day} {hour:02}:{minute:02}  {data['reason']:13} {data['sentence']}")
PY
sed -n 1,12p "$work/report"
