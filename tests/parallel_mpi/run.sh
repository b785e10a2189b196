#!/usr/bin/env bash
# Runs a program on N ranks of mpirun, spread over emulated hosts.
#
#   run.sh N together|apart|paired PROGRAM ARGS...
#
# together: all ranks on one host. apart: each rank has a host name of its own, so that it takes the
# others for strangers on the network. paired: even and odd ranks make two hosts. Host names are set in
# UTS namespaces, which needs root.
# EXPECT=fail turns the exit code round, for ranks that are to fail.
# Exit code 77: skipped, with the reason.
set -u
ranks=$1 hosts=$2
shift 2

skip() {
    echo "skipped: $1"
    exit 77
}
command -v mpirun >/dev/null || skip "mpirun is not installed"
case $hosts in
together) command=("$@") ;;
apart) name='h$OMPI_COMM_WORLD_RANK' ;;
paired) name='h$((OMPI_COMM_WORLD_RANK % 2))' ;;
*) echo "run.sh: unknown placement '$hosts'" >&2; exit 2 ;;
esac
if [ "$hosts" != together ]; then
    unshare --uts true 2>/dev/null || skip "emulating hosts needs root (unshare --uts)"
    command=(unshare --uts sh -c "hostname $name; exec \"\$@\"" rank "$@")
fi

timeout 60 mpirun --allow-run-as-root --oversubscribe -n "$ranks" "${command[@]}"
code=$?
if [ "${EXPECT:-}" = fail ]; then
    [ $code -ne 0 ] && [ $code -ne 124 ] && exit 0
    echo "run.sh: these ranks should have failed soon, but mpirun ended with $code"
    exit 1
fi
exit $code
