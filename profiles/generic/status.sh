#!/usr/bin/env bash
# status.sh JOB: print running, success or failed
if found=$(squeue --noheader --states=all --format=%T --jobs="$1" 2>&1); then
    case "${found%%$'\n'*}" in
        COMPLETED) echo success ;;
        BOOT_FAIL | CANCELLED | DEADLINE | FAILED | NODE_FAIL | OUT_OF_MEMORY | TIMEOUT) echo failed ;;
        "") echo failed ;; # forgotten
        *) echo running ;; # also PREEMPTED: Slurm queues it again
    esac
else
    case "$found" in
        *"Invalid job id"*) echo failed ;; # forgotten: nobody has asked for longer than MinJobAge
        *) echo running ;; # the controller does not answer; it will
    esac
fi
