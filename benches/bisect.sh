#!/bin/sh
# Times `milwright bisect` against `cp -r` and against a peer, in turns.
#
#     benches/bisect.sh MODEL.mlpackage [PEER COMMAND...]
#
# PEER COMMAND gets the model and a folder to write as its last arguments, and
# runs once for every three rounds of the others, since it takes a hundred times
# as long. Prints each run (wall time in seconds, peak resident memory), then the
# medians and their ratios. Variables: MILWRIGHT (target/release/milwright),
# ROUNDS (9), BISECT (options, default `--parts 4`), TMP (where the outputs go;
# the file system of the model unless that is read-only).
#
# Needs GNU time. The model should fit twice in the page cache; one round that
# does not count brings it in. Outputs are removed before each run, and what is
# still to be written to the disk is written first, so that nobody pays for the
# run before.
set -eu

[ $# -ge 1 ] || { sed -n '2,8s/^# \{0,1\}//p' "$0"; exit 2; }
model=$1
shift
milwright=${MILWRIGHT:-target/release/milwright}
rounds=${ROUNDS:-9}
options=${BISECT:---parts 4}
work=$(mktemp -d "${TMP:-$(dirname "$model")}/bisect-bench.XXXXXX")
trap 'rm -rf "$work"' EXIT INT TERM

# once NAME COMMAND...: a run, of which one line is kept and shown.
once() {
    name=$1
    shift
    rm -rf "$work/out"
    sync
    command time -f '%e %M' -o "$work/time" "$@" > "$work/stdout" 2> "$work/stderr" || {
        cat "$work/stderr" >&2
        exit 1
    }
    tail -n 1 "$work/time" >> "$work/$name"
    printf '%-10s %s\n' "$name" "$(tail -n 1 "$work/time" | awk '{ printf "%6.2f s %6.0f MB", $1, $2 * 1024 / 1e6 }')"
}

median() { sort -n "$work/$1" | awk '{ a[NR] = $1 } END { print (a[int((NR + 1) / 2)] + a[int(NR / 2) + 1]) / 2 }'; }
peak() { awk '$2 > m { m = $2 } END { printf "%.0f", m * 1024 / 1e6 }' "$work/$1"; }

# shellcheck disable=SC2086 # options are several words
bisect() { once "$1" "$milwright" bisect "$model" -o "$work/out" $options; }

cp -r "$model" "$work/out"
bisect warm > "$work/stdout" # brings the model and both programs into memory
for round in $(seq "$rounds"); do
    # Who comes first changes.
    if [ $((round % 2)) -eq 1 ]; then
        once cp cp -r "$model" "$work/out"
        bisect milwright
    else
        bisect milwright
        once cp cp -r "$model" "$work/out"
    fi
    if [ $# -gt 0 ] && [ $((round % 3)) -eq 1 ]; then
        once peer "$@" "$model" "$work/out"
    fi
done

echo "$rounds rounds of bisect $options"
ours=$(median milwright)
copy=$(median cp)
echo "cp -r      median $copy s"
echo "milwright  median $ours s, peak $(peak milwright) MB: $(awk "BEGIN { printf \"%.2f\", $ours / $copy }") x cp -r"
if [ -s "$work/peer" ]; then
    peer=$(median peer)
    echo "peer       median $peer s, peak $(peak peer) MB: $(awk "BEGIN { printf \"%.1f\", $peer / $ours }") x milwright"
fi
