# SPDX-License-Identifier: Apache-2.0
#
# Brokers in the guest mount and unmount by themselves. BIN: the programs.
. "${0%/*}/host.sh"
$BIN/airctl doctor | grep 'FUSE: no; over NFS: yes'
said=$($BIN/airctl mount $dir/mnt --token-file token)
echo "$said"; echo "$said" | grep 'over NFS'
grep "127.0.0.1:/airstore-.* $dir/mnt nfs " /proc/mounts | grep nosuid | grep nodev | grep hard
$BIN/airctl status | grep 'NFS version 3 on 127.0.0.1 port'
echo hello > mnt/a
pid_of() { $BIN/airctl --json status $dir/mnt | sed -n 's/.*"frontend_pid": \([0-9]*\).*/\1/p'; }
kill -9 $(pid_of)
test "$(cat mnt/a)" = hello
kill -9 $broker
echo more >> mnt/a & waits=$!
start_broker
wait $waits
test "$(cat mnt/a)" = "$(printf 'hello\nmore')"
# In use, then not.
exec 7<mnt/a
code=0; $BIN/airctl unmount $dir/mnt || code=$?; test $code = 4
exec 7<&-
head -c 3000000 /dev/zero > mnt/big
$BIN/airctl unmount $dir/mnt
refuses grep "$dir/mnt nfs " /proc/mounts
# Detached although it is in use.
$BIN/airctl mount $dir/mnt --token-file token --backend nfs --read-only
test $(stat -c %s mnt/big) = 3000000
refuses touch mnt/b
exec 7<mnt/a
$BIN/airctl unmount --force $dir/mnt
refuses grep "$dir/mnt nfs " /proc/mounts
exec 7<&-
# Who has a file of it open for writing is told, or can be killed; then nobody of ours is left.
nobody_refuses() { ! pgrep -f -- 'airstore-nfs --refuse'; }
hold() { rm -f $1; bash -c "exec 8>mnt/$1; echo before >&8; touch $1; exec sleep 1000" & holds=$!
  wait_for test -e $1; }
kill_holder() { kill -9 $holds; wait $holds || true; wait_for nobody_refuses; }
$BIN/airctl mount $dir/mnt --token-file token --backend nfs
bash -c "exec 8>mnt/told; echo before >&8; touch told; until test -e go; do sleep 0.1; done
  echo after >&8; exec 8>&-; touch closed" &
wait_for test -e told
hold killed
$BIN/airctl unmount --force $dir/mnt
refuses grep "$dir/mnt nfs " /proc/mounts
pgrep -f -- 'airstore-nfs --refuse'
touch go
wait_for test -e closed
kill_holder
# Somebody else unmounts it.
$BIN/airctl mount $dir/mnt --token-file token
umount -i $dir/mnt
$BIN/airctl status $dir/mnt | grep 'somebody else has unmounted it'
$BIN/airctl mount $dir/mnt --token-file token
test "$(head -n 1 mnt/a)" = hello
# Broker and frontend die together: what hangs is found again by the next broker, and let go.
hold left
kill -9 $broker $(pid_of)
start_broker
wait_for $BIN/airctl status
refuses grep "$dir/mnt nfs " /proc/mounts
kill_holder
$BIN/airctl mount $dir/mnt --token-file token
test "$(head -n 1 mnt/a)" = hello
$BIN/airctl unmount $dir/mnt
