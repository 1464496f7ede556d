# SPDX-License-Identifier: Apache-2.0
#
# To be sourced: gateway and broker in the guest, whose kernel has no FUSE and an NFS client; a
# workspace and its token, in the current directory. BIN: the programs.
set -e
dir=/run/airstore; mkdir -p $dir/mnt; umask 077; cd $dir
export AIRSTORE_SOCKET=$dir/state/control.sock AIRSTORE_GATEWAY=unix:$dir/gateway.sock
wait_for() { for i in $(seq 600); do if "$@" >/dev/null 2>&1; then return 0; fi; sleep 0.1; done
  echo "waited in vain: $*"; tail -n 20 $dir/*.log; exit 1; }
$BIN/airstore-gateway --data $dir/gateway --listen unix:$dir/gateway.sock >$dir/gateway.log 2>&1 &
wait_for test -S $dir/gateway.sock
refuses() { if "$@"; then echo "this should have failed: $*"; exit 1; fi; }
start_broker() { $BIN/airstored --state-dir $dir/state >>$dir/broker.log 2>&1 & broker=$!; }
start_broker
wait_for $BIN/airctl status
$BIN/airctl workspace create w --token-file $dir/gateway/admin-token
$BIN/airctl token create w --token-file $dir/gateway/admin-token > token
