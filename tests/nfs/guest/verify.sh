# SPDX-License-Identifier: Apache-2.0
#
# SQLite in both of its ways, and what fio has verified. ROWS, SIZE.
set -e
cd /mnt
for mode in delete wal; do
  { echo "pragma journal_mode=$mode; create table t(a integer primary key, b text);"
    for i in $(seq $ROWS); do echo "insert into t(b) values(hex(randomblob(200)));"; done
  } | sqlite3 $mode.db
  test "$(sqlite3 $mode.db 'pragma integrity_check; select count(*) from t' | tr '\n' ' ')" = "ok $ROWS "
done
for rw in write randwrite; do
  fio --name=$rw --filename=/mnt/$rw --rw=$rw --bs=16k --size=$SIZE --verify=crc32c \
    --verify_fatal=1 --fsync=64 --ioengine=psync --thread >/run/fio.txt ||
    { cat /run/fio.txt; exit 1; }
done
