#!/usr/bin/env bash
# submit.sh THREADS MEMORY_MB MINUTES GPUS JOBSCRIPT: submit a job and print its id
set -euo pipefail
partition=cpu
gpus=()
if [ "$4" -gt 0 ]; then
    partition=gpu
    gpus=("--gres=gpu:$4")
fi
mkdir -p results/logs/cluster
exec sbatch --parsable --job-name=cdsp --output='results/logs/cluster/%j.log' \
    --partition="$partition" --cpus-per-task="$1" --mem="$2" --time="$3" "${gpus[@]}" "$5"
