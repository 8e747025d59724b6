#!/bin/sh
# What a container runs: `BIDS_DIR OUT_DIR participant ...` is the BIDS-App form, all else is `mdcsrn ...`.
set -eu

# Cores of which a quota (docker run --cpus, a limit of Kubernetes) leaves only a share still count as cores: more
# threads than the quota pays for slow each other down. What the user sets wins.
if [ -z "${OMP_NUM_THREADS:-}" ]; then
    groups=${CONTROL_GROUPS:-/sys/fs/cgroup}
    quota=max period=100000
    if [ -r "$groups/cpu.max" ]; then # version 2
        read -r quota period < "$groups/cpu.max"
    elif [ -r "$groups/cpu/cpu.cfs_quota_us" ]; then # version 1: -1 is no limit
        read -r quota < "$groups/cpu/cpu.cfs_quota_us"
        read -r period < "$groups/cpu/cpu.cfs_period_us"
    fi
    threads=$(nproc)
    case $quota in
    max | -*) ;;
    *)
        share=$(((quota + period - 1) / period))
        [ "$share" -ge "$threads" ] || threads=$share
        ;;
    esac
    export OMP_NUM_THREADS="$threads"
fi

case ${1:-} in
*/*) exec mdcsrn bids "$@" ;; # a path; no command of mdcsrn has a slash
*)
    if [ "$#" -ge 3 ] && [ -d "$1" ] && [ "$3" = participant ]; then
        exec mdcsrn bids "$@"
    fi
    [ "$#" -gt 0 ] || set -- --help
    exec mdcsrn "$@"
    ;;
esac
