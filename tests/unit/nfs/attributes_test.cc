// SPDX-License-Identifier: Apache-2.0
#include "frontends/nfs/attributes.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <cerrno>

namespace airstore::nfs {
namespace {

TEST(NfsStatus, HasAWordForEachErrorOfAFileSystem) {
  const std::pair<int, nfsstat3> expected[] = {
      {0, NFS3_OK},
      {EPERM, NFS3ERR_PERM},
      {ENOENT, NFS3ERR_NOENT},
      {EIO, NFS3ERR_IO},
      {ENXIO, NFS3ERR_NXIO},
      {EACCES, NFS3ERR_ACCES},
      {EEXIST, NFS3ERR_EXIST},
      {EXDEV, NFS3ERR_XDEV},
      {ENODEV, NFS3ERR_NODEV},
      {ENOTDIR, NFS3ERR_NOTDIR},
      {EISDIR, NFS3ERR_ISDIR},
      {EINVAL, NFS3ERR_INVAL},
      {EFBIG, NFS3ERR_FBIG},
      {ENOSPC, NFS3ERR_NOSPC},
      {EROFS, NFS3ERR_ROFS},
      {EMLINK, NFS3ERR_MLINK},
      {ENAMETOOLONG, NFS3ERR_NAMETOOLONG},
      {ENOTEMPTY, NFS3ERR_NOTEMPTY},
      {EDQUOT, NFS3ERR_DQUOT},
      {ESTALE, NFS3ERR_STALE},
      {EOPNOTSUPP, NFS3ERR_NOTSUPP},
      {ETIMEDOUT, NFS3ERR_JUKEBOX},
  };
  for (const auto& [error, status] : expected) EXPECT_EQ(StatusOf(error), status) << error;
  for (int error = 1; error < 200; ++error) EXPECT_NE(StatusOf(error), NFS3_OK) << error;
}

TEST(NfsAttributes, SayWhatTheRecordSays) {
  shm::InodeRecord record{};
  record.inode = 77;
  record.mode = S_IFCHR | 04640;
  record.nlink = 3;
  record.uid = 1;
  record.gid = 2;
  record.size = 5;
  record.allocated_bytes = 4097;
  record.rdev = makedev(11, 12);
  record.atime_ns = 1'000'000'001;
  record.mtime_ns = 2'000'000'002;
  record.ctime_ns = 3'000'000'003;
  const fattr3 out = AttributesOf(record, 9);
  EXPECT_EQ(out.type, NF3CHR);
  EXPECT_EQ(out.mode, 04640u);
  EXPECT_EQ(out.nlink, 3u);
  EXPECT_EQ(out.size, 5u);
  EXPECT_EQ(out.used, 8192u);
  EXPECT_EQ(out.rdev.specdata1, 11u);
  EXPECT_EQ(out.rdev.specdata2, 12u);
  EXPECT_EQ(out.fsid, 9u);
  EXPECT_EQ(out.fileid, 77u);
  EXPECT_EQ(out.mtime.seconds, 2u);
  EXPECT_EQ(out.mtime.nseconds, 2u);
  EXPECT_EQ(NsOf(out.ctime), record.ctime_ns);
}

TEST(NfsAttributes, KnowEachTypeOfFile) {
  const std::pair<uint32_t, ftype3> expected[] = {
      {S_IFREG, NF3REG}, {S_IFDIR, NF3DIR},   {S_IFLNK, NF3LNK}, {S_IFBLK, NF3BLK},
      {S_IFCHR, NF3CHR}, {S_IFSOCK, NF3SOCK}, {S_IFIFO, NF3FIFO}};
  for (const auto& [mode, type] : expected) {
    shm::InodeRecord record{};
    record.mode = mode;
    EXPECT_EQ(AttributesOf(record, 0).type, type) << mode;
  }
}

TEST(NfsAttributes, AreSetOneByOne) {
  sattr3 wanted{};
  EXPECT_EQ(ChangesOf(wanted, 1).valid, 0u);
  wanted.mode.set_it = TRUE;
  wanted.mode.set_mode3_u.mode = 0100644;
  wanted.size.set_it = TRUE;
  wanted.size.set_size3_u.size = 12;
  wanted.atime.set_it = SET_TO_SERVER_TIME;
  wanted.mtime.set_it = SET_TO_CLIENT_TIME;
  wanted.mtime.set_time3_u.time = {7, 8};
  const auto out = ChangesOf(wanted, 99);
  EXPECT_EQ(out.valid, shm::kSetMode | shm::kSetSize | shm::kSetAtime | shm::kSetMtime);
  EXPECT_EQ(out.mode, 0644u);
  EXPECT_EQ(out.size, 12u);
  EXPECT_EQ(out.atime_ns, 99);
  EXPECT_EQ(out.mtime_ns, 7'000'000'008);
}

}  // namespace
}  // namespace airstore::nfs
