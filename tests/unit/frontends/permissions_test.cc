// SPDX-License-Identifier: Apache-2.0
//
// Every answer is compared with that of the kernel, which is asked about real files by threads that
// act as other users.
#include "frontends/volume/permissions.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <memory>

#include "tests/unit/frontends/permissions_support.h"

namespace airstore::volume {
namespace {

using posix::ActingAs;
using posix::Caller;

class Permissions : public PermissionsTest {};

TEST_F(Permissions, OfEachModeAreTheKernels) {
  struct Made {
    std::string path;
    shm::InodeRecord record;
  };
  std::vector<Made> all;
  for (const uint32_t type : {S_IFREG, S_IFDIR}) {
    for (uint32_t mode = 0; mode <= 07777; ++mode) {
      const std::string path = At("m" + std::to_string(type | mode));
      Make(path, type, mode);
      all.push_back({path, RecordOf(path)});
      ASSERT_EQ(all.back().record.mode, type | mode);
    }
  }
  size_t granted = 0;
  for (const Caller& caller : Callers()) {
    const ActingAs acting(caller);
    const As who(caller);
    for (const Made& made : all) {
      for (const int wanted : {1, 2, 3, 4, 5, 6, 7}) {
        const int kernel = KernelsAnswer(made.path, wanted);
        const int ours = CheckAccess(who, {made.record}, static_cast<uint32_t>(wanted));
        ASSERT_EQ(kernel, ours) << caller.name << " wants " << wanted << " of " << std::oct
                                << made.record.mode;
        granted += kernel == 0;
      }
    }
  }
  EXPECT_GT(granted, all.size());
  EXPECT_LT(granted, all.size() * 7 * Callers().size());
}

TEST_F(Permissions, OfOpensAreTheKernels) {
  for (const uint32_t mode : {0u, 0444u, 0222u, 0640u, 0606u, 0755u, 0111u}) {
    for (const int flags : {O_RDONLY, O_WRONLY, O_RDWR, O_RDONLY | O_TRUNC, O_RDONLY | O_NOATIME,
                            O_WRONLY | O_TRUNC}) {
      const std::string path = At("file");
      Make(path, S_IFREG, mode);
      const shm::InodeRecord record = RecordOf(path);
      for (const Caller& caller : Callers()) {
        const ActingAs acting(caller);
        const int fd = open(path.c_str(), flags);
        const int kernel = fd >= 0 ? 0 : errno;
        if (fd >= 0) close(fd);
        EXPECT_EQ(kernel, CheckOpen(As(caller), {record}, static_cast<uint32_t>(flags)))
            << caller.name << " opens " << std::oct << mode << " with " << flags;
      }
      Remove(path);
    }
  }
}

TEST_F(Permissions, OfNamesAreTheKernels) {
  const std::string directory = At("d");
  const std::string name = directory + "/name";
  for (const uint32_t mode : {0777u, 01777u, 01770u, 0755u, 0733u, 0555u, 0700u, 02777u, 01755u}) {
    for (const uid_t owner : {uid_t{0}, posix::kOwner, posix::kOther}) {
      for (const uid_t victims : {uid_t{0}, posix::kOwner, posix::kMember}) {
        for (const Caller& caller : Callers()) {
          Make(directory, S_IFDIR, mode, owner);
          Make(name, S_IFREG, 0644, victims);
          const shm::InodeRecord parent = RecordOf(directory);
          const shm::InodeRecord victim = RecordOf(name);
          const As who(caller);
          const auto what = [&] {
            return ::testing::Message() << caller.name << " in " << std::oct << mode << std::dec
                                        << " of " << owner << ", file of " << victims;
          };
          int made = 0;
          int removed = 0;
          {
            const ActingAs acting(caller);
            made = mkdir((directory + "/new").c_str(), 0755) == 0 ? 0 : errno;
            removed = unlink(name.c_str()) == 0 ? 0 : errno;
          }
          EXPECT_EQ(made, CheckCreate(who, {parent})) << what();
          EXPECT_EQ(removed, CheckRemove(who, {parent}, victim)) << what();
          Remove(directory);
        }
      }
    }
  }
}

TEST_F(Permissions, OfRenamesAreTheKernels) {
  const std::string from = At("from");
  const std::string to = At("to");
  const std::string source = from + "/a";
  enum class Target { kNone, kThere, kExchanged };
  for (const uint32_t mode : {0777u, 01777u, 0755u}) {
    for (const uint32_t new_mode : {0777u, 01777u, 0755u}) {
      for (const uint32_t type : {S_IFREG, S_IFDIR}) {
        for (const uint32_t own_mode : {0755u, 0577u, 0555u}) {
          for (const Target kind : {Target::kNone, Target::kThere, Target::kExchanged}) {
            for (const bool within : {false, true}) {
              for (const Caller& caller : Callers()) {
                const std::string& folder = within ? from : to;
                const std::string target = folder + "/b";
                Make(from, S_IFDIR, mode, 0);
                Make(to, S_IFDIR, new_mode, 0);
                Make(source, type, own_mode);
                if (kind != Target::kNone) Make(target, type, own_mode, posix::kMember);
                const shm::InodeRecord records[] = {RecordOf(from), RecordOf(source),
                                                    RecordOf(folder)};
                shm::InodeRecord there{};
                if (kind != Target::kNone) there = RecordOf(target);
                const Subject subject{there};
                const Renaming renaming{{records[0]},
                                        {records[1]},
                                        {records[2]},
                                        kind != Target::kNone ? &subject : nullptr,
                                        kind == Target::kExchanged};
                int kernel = 0;
                {
                  const ActingAs acting(caller);
                  const unsigned flags = kind == Target::kExchanged ? RENAME_EXCHANGE : 0;
                  kernel = renameat2(AT_FDCWD, source.c_str(), AT_FDCWD, target.c_str(), flags) == 0
                               ? 0
                               : errno;
                }
                EXPECT_EQ(kernel, CheckRename(As(caller), renaming))
                    << caller.name << " from " << std::oct << mode << " to " << new_mode << ", a "
                    << type << " of " << own_mode << ", target " << static_cast<int>(kind);
                Remove(from);
                Remove(to);
              }
            }
          }
        }
      }
    }
  }
}

TEST_F(Permissions, OfNodesAreTheKernels) {
  const std::string directory = At("d");
  const std::string name = directory + "/node";
  for (const uint32_t mode : {0777u, 0755u, 02777u}) {
    Make(directory, S_IFDIR, mode, posix::kOwner);
    const shm::InodeRecord parent = RecordOf(directory);
    for (const Caller& caller : Callers()) {
      const As who(caller);
      for (const uint32_t type : {S_IFREG, S_IFIFO, S_IFSOCK, S_IFCHR, S_IFBLK}) {
        for (const dev_t device : {dev_t{0}, makedev(1, 3)}) {
          for (const uint32_t bits : {0640u, 02750u, 02740u, 06711u}) {
            int kernel = 0;
            {
              const ActingAs acting(caller);
              const mode_t before = umask(0);
              kernel = mknod(name.c_str(), type | bits, device) == 0 ? 0 : errno;
              umask(before);
            }
            EXPECT_EQ(kernel, CheckMakeNode(who, {parent}, type | bits, device))
                << caller.name << " makes " << std::oct << (type | bits) << " in " << mode;
            if (kernel == 0) {
              EXPECT_EQ(RecordOf(name).mode, ModeOfNew(who, parent, type | bits))
                  << caller.name << " in " << std::oct << mode;
              unlink(name.c_str());
            }
          }
        }
      }
    }
    Remove(directory);
  }
}

TEST_F(Permissions, OfAttributesAreTheKernels) {
  const std::string path = At("file");
  struct Wish {
    std::string name;
    AttributeChange change;
    std::function<int()> call;
  };
  std::vector<Wish> wishes;
  for (const uint32_t mode : {0600u, 02755u, 04755u, 02700u}) {
    AttributeChange change{shm::kSetMode};
    change.mode = S_IFREG | mode;
    wishes.push_back({"chmod", change, [=] { return chmod(path.c_str(), mode); }});
  }
  for (const uid_t uid : {static_cast<uid_t>(-1), uid_t{0}, posix::kOwner, posix::kOther}) {
    for (const gid_t gid : {static_cast<gid_t>(-1), gid_t{0}, posix::kGroup, posix::kThirdGroup,
                            posix::kOtherGroup}) {
      // A change to nothing takes set-id bits away; a client asks for that as for a write's.
      if (uid == static_cast<uid_t>(-1) && gid == static_cast<gid_t>(-1)) continue;
      AttributeChange change;
      if (uid != static_cast<uid_t>(-1)) change.valid |= shm::kSetUid;
      if (gid != static_cast<gid_t>(-1)) change.valid |= shm::kSetGid;
      change.uid = uid;
      change.gid = gid;
      wishes.push_back({"chown", change, [=] { return chown(path.c_str(), uid, gid); }});
    }
  }
  const auto times = [&](const char* name, timespec access_time, timespec change_time) {
    AttributeChange change;
    if (access_time.tv_nsec != UTIME_OMIT) change.valid |= shm::kSetAtime;
    if (change_time.tv_nsec != UTIME_OMIT) change.valid |= shm::kSetMtime;
    change.times_now = access_time.tv_nsec == UTIME_NOW && change_time.tv_nsec == UTIME_NOW;
    wishes.push_back({name, change, [=] {
                        const timespec both[2] = {access_time, change_time};
                        return utimensat(AT_FDCWD, path.c_str(), both, 0);
                      }});
  };
  times("now", {0, UTIME_NOW}, {0, UTIME_NOW});
  times("now and then", {0, UTIME_NOW}, {1, 0});
  times("now and not", {0, UTIME_NOW}, {0, UTIME_OMIT});
  times("not and then", {0, UTIME_OMIT}, {1, 0});
  AttributeChange shorter{shm::kSetSize | shm::kSetMtime};
  wishes.push_back({"truncate", shorter, [=] { return truncate(path.c_str(), 0); }});

  for (const uint32_t mode : {0644u, 0666u, 02775u, 06755u, 0u}) {
    for (const Wish& wish : wishes) {
      for (const Caller& caller : Callers()) {
        Make(path, S_IFREG, mode);
        const shm::InodeRecord record = RecordOf(path);
        AttributeChange change = wish.change;
        const int ours = CheckSetattr(As(caller), {record}, &change);
        int kernel = 0;
        {
          const ActingAs acting(caller);
          kernel = wish.call() == 0 ? 0 : errno;
        }
        EXPECT_EQ(kernel, ours) << caller.name << ": " << wish.name << " " << change.uid << " "
                                << change.gid << " of " << std::oct << mode;
        if (kernel == 0 && (change.valid & shm::kSetMode) != 0) {
          EXPECT_EQ(RecordOf(path).mode, change.mode) << caller.name;
        }
        Remove(path);
      }
    }
  }
}

TEST_F(Permissions, OfAttributesThroughAnOpenFile) {
  shm::InodeRecord record{};
  record.mode = S_IFREG | 0444;
  record.uid = posix::kOwner;
  AttributeChange change{shm::kSetSize};
  EXPECT_EQ(CheckSetattr(As(posix::Owner()), {record}, &change), EACCES);
  change.opened = true;
  EXPECT_EQ(CheckSetattr(As(posix::Owner()), {record}, &change), 0);
}

TEST_F(Permissions, OfExtendedAttributesAreTheKernels) {
  const std::string path = At("x");
  for (const uint32_t type : {S_IFREG, S_IFDIR, S_IFIFO}) {
    for (const uint32_t mode : {0600u, 0644u, 0666u, 01777u, 0222u}) {
      Make(path, type, mode);
      const shm::InodeRecord record = RecordOf(path);
      for (const char* const name : {"user.a", "trusted.a", "security.a"}) {
        for (const Caller& caller : Callers()) {
          const As who(caller);
          const int possible = setxattr(path.c_str(), name, "v", 1, 0) == 0 ? 0 : errno;
          if (possible == EOPNOTSUPP) continue;
          const bool there = getxattr(path.c_str(), name, nullptr, 0) == 1;
          char value[8];
          int got = 0;
          int set = 0;
          int removed = 0;
          {
            const ActingAs acting(caller);
            got = getxattr(path.c_str(), name, value, sizeof(value)) >= 0 ? 0 : errno;
            set = setxattr(path.c_str(), name, "w", 1, 0) == 0 ? 0 : errno;
            removed = removexattr(path.c_str(), name) == 0 ? 0 : errno;
          }
          const auto what = [&] {
            return ::testing::Message()
                   << caller.name << " and " << name << " of " << std::oct << record.mode;
          };
          if (there) {
            EXPECT_EQ(got, CheckGetXattr(who, {record}, name)) << what();
          }
          EXPECT_EQ(set, CheckSetXattr(who, {record}, name)) << what();
          if (there) {
            EXPECT_EQ(removed, CheckSetXattr(who, {record}, name)) << what();
          }
        }
      }
      Remove(path);
    }
  }
}

TEST_F(Permissions, OfOpenFilesOutliveTheMode) {
  shm::InodeRecord record{};
  record.mode = S_IFREG | 0444;
  record.uid = posix::kOwner;
  record.gid = posix::kGroup;
  EXPECT_EQ(CheckIo(As(posix::Owner()), {record}, kMayWrite), 0);
  EXPECT_EQ(CheckIo(As(posix::Member()), {record}, kMayWrite), EACCES);
  EXPECT_EQ(CheckIo(As(posix::Root()), {record}, kMayWrite), 0);
  record.mode = S_IFREG | 0711;
  EXPECT_EQ(CheckIo(As(posix::Other()), {record}, kMayRead), 0);  // to run it
  EXPECT_EQ(CheckIo(As(posix::Other()), {record}, kMayWrite), EACCES);
  record.mode = S_IFREG | 0700;
  EXPECT_EQ(CheckIo(As(posix::Other()), {record}, kMayRead), EACCES);
  record.mode = S_IFDIR | 0111;
  EXPECT_EQ(CheckIo(As(posix::Other()), {record}, kMayRead), EACCES);
}

TEST_F(Permissions, ToRunAFileAreNotThoseToReadIt) {
  shm::InodeRecord record{};
  record.mode = S_IFREG | 0711;
  record.uid = posix::kOwner;
  EXPECT_EQ(CheckOpen(As(posix::Other()), {record}, O_RDONLY), EACCES);
  EXPECT_EQ(CheckOpen(As(posix::Other()), {record}, O_RDONLY | kOpenToExecute), 0);
  record.mode = S_IFREG | 0644;
  EXPECT_EQ(CheckOpen(As(posix::Other()), {record}, O_RDONLY | kOpenToExecute), EACCES);
  EXPECT_EQ(CheckOpen(As(posix::Root()), {record}, O_RDONLY | kOpenToExecute), EACCES);
}

}  // namespace
}  // namespace airstore::volume
