// SPDX-License-Identifier: Apache-2.0
//
// A broker dies in the middle of one change. The next one finishes it: who made it is answered as
// if nothing had happened, and what the gateway gets is what was asked for.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <functional>
#include <future>

#include "tests/e2e/support/host_test.h"
#include "tests/e2e/support/other_broker.h"
#include "tests/fault/switchboard.h"

namespace airstore::fault {
namespace {

using e2e::ErrnoOf;
using std::chrono::seconds;

// Of the file; or "errno N".
std::string Attribute(int fd, const char* name) {
  std::string value(70'000, '\0');
  const ssize_t got = fgetxattr(fd, name, value.data(), value.size());
  if (got < 0) return "errno " + std::to_string(errno);
  value.resize(static_cast<size_t>(got));
  return value;
}
std::string Attribute(const std::string& path, const char* name) {
  return Attribute(e2e::Open(path, O_RDONLY).get(), name);
}
int SetAttribute(int fd, const char* name, const std::string& value, int flags = 0) {
  return ErrnoOf(fsetxattr(fd, name, value.data(), value.size(), flags));
}
const std::string kNone = "errno " + std::to_string(ENODATA);

// user::rwx user:65534:rw- group::r-- mask::rwx other::---
std::string SomeAcl() {
  const posix_acl_xattr_header header{POSIX_ACL_XATTR_VERSION};
  std::string out(reinterpret_cast<const char*>(&header), sizeof header);
  constexpr auto kNobody = static_cast<uint32_t>(ACL_UNDEFINED_ID);
  for (const posix_acl_xattr_entry entry :
       {posix_acl_xattr_entry{ACL_USER_OBJ, 7, kNobody}, posix_acl_xattr_entry{ACL_USER, 6, 65534},
        posix_acl_xattr_entry{ACL_GROUP_OBJ, 4, kNobody},
        posix_acl_xattr_entry{ACL_MASK, 7, kNobody},
        posix_acl_xattr_entry{ACL_OTHER, 0, kNobody}}) {
    out.append(reinterpret_cast<const char*>(&entry), sizeof entry);
  }
  return out;
}
// cap_net_raw+ep, as the kernel keeps it.
const std::string kCapability(
    "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
    "\x00\x00",
    20);

// A process that has a file open for writing. Ours may not: who starts a broker would inherit the
// descriptor, and its end waits for that broker.
class OtherWriter {
 public:
  explicit OtherWriter(const std::string& path) {
    int to[2], from[2];
    if (pipe2(to, O_CLOEXEC) != 0 || pipe2(from, O_CLOEXEC) != 0) abort();
    child_ = fork();
    if (child_ == 0) {
      close(to[1]);
      const int file = open(path.c_str(), O_RDWR);
      char told = file >= 0 ? 'y' : 'n';
      (void)!write(from[1], &told, 1);
      char text[64];
      const ssize_t length = read(to[0], text, sizeof text);
      told = length > 0 && pwrite(file, text, static_cast<size_t>(length), 0) == length ? 'y' : 'n';
      (void)!write(from[1], &told, 1);
      (void)!read(to[0], text, sizeof text);
      _exit(0);
    }
    to_.reset(to[1]);
    from_.reset(from[0]);
    close(to[0]);
    close(from[1]);
    EXPECT_EQ(Answer(), 'y') << path;
  }
  ~OtherWriter() {
    to_.reset();
    waitpid(child_, nullptr, 0);
  }
  OtherWriter(const OtherWriter&) = delete;
  OtherWriter& operator=(const OtherWriter&) = delete;
  // At the beginning of the file.
  bool Write(const std::string& text) {
    return write(to_.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size()) &&
           Answer() == 'y';
  }

 private:
  char Answer() {
    char told = 'n';
    (void)!read(from_.get(), &told, 1);
    return told;
  }

  pid_t child_ = 0;
  UniqueFd to_, from_;
};

class BrokerDiesChanging : public e2e::MountTest {
 protected:
  e2e::HostOptions Options() const override {
    return {.environment = {{"AIRSTORE_FAULT", board_.path()}}};
  }
  void Restart() {
    host().KillBroker();
    host().StartBroker();
  }
  // Makes the change with a broker that is killed when it comes to the point for the (skip + 1)th
  // time; the errno that its caller gets in the end. Nothing: it did not come there.
  std::optional<int> DyingAt(FaultPoint point, int64_t skip, const std::function<int()>& change) {
    const uint64_t fired = board_.fired(point);
    board_.Arm(point, FaultAction::kKill, 0, skip, 1);
    std::future<int> outcome = std::async(std::launch::async, change);
    const bool died =
        e2e::WaitUntil(seconds(5),
                       [&] {
                         return board_.fired(point) != fired ||
                                outcome.wait_for(seconds(0)) == std::future_status::ready;
                       }) &&
        e2e::WaitUntil(seconds(1), [&] { return board_.fired(point) != fired; });
    board_.Disarm(point);
    if (died) {
      EXPECT_TRUE(e2e::WaitUntil(seconds(5), [&] { return !host().BrokerRuns(); }));
      host().KillBroker();
      host().StartBroker();
    }
    const int result = outcome.get();
    if (!died) return std::nullopt;
    return result;
  }

  Switchboard board_;
};

// A file without a name gets one: that takes several records.
TEST_F(BrokerDiesChanging, ANameForAFileWithoutOne) {
  const timespec times[2] = {{1'000'000, 5}, {2'000'000, 6}};
  int deaths = 0;
  int made = 0;
  for (const FaultPoint point :
       {FaultPoint::kTreeBeforeLog, FaultPoint::kTreeAfterLog, FaultPoint::kCallBeforeAnswer}) {
    for (int64_t skip = 0; skip < 4; ++skip) {
      SCOPED_TRACE(std::string(NameOf(point)) + " " + std::to_string(skip));
      const std::string name = "named" + std::to_string(made++);
      const UniqueFd file = e2e::Open(mount(), O_TMPFILE | O_RDWR, 0640);
      e2e::WriteAt(file.get(), name, 0);
      ASSERT_EQ(SetAttribute(file.get(), "user.k", "v " + name), 0);
      ASSERT_EQ(futimens(file.get(), times), 0);
      const std::string source = "/proc/self/fd/" + std::to_string(file.get());
      const auto outcome = DyingAt(point, skip, [&] {
        return ErrnoOf(
            linkat(AT_FDCWD, source.c_str(), AT_FDCWD, At(name).c_str(), AT_SYMLINK_FOLLOW));
      });
      if (!outcome) {
        EXPECT_GT(skip, 0) << "it never came there";
        break;
      }
      ++deaths;
      EXPECT_EQ(*outcome, 0) << strerror(*outcome);
      EXPECT_EQ(e2e::ReadFile(At(name)), name);
      EXPECT_EQ(Attribute(At(name), "user.k"), "v " + name);
      const struct stat found = e2e::Stat(At(name));
      EXPECT_EQ(found.st_nlink, 1u);
      EXPECT_EQ(found.st_mode & 07777u, 0640u);
      EXPECT_EQ(found.st_mtim.tv_sec, 2'000'000);
      EXPECT_EQ(found.st_mtim.tv_nsec, 6);
    }
  }
  EXPECT_GE(deaths, 7);
  const e2e::TreeEntries here = e2e::Tree(mount());
  EXPECT_EQ(here.size(), static_cast<size_t>(made));
  RemountFresh();
  EXPECT_EQ(e2e::Difference(here, e2e::Tree(mount())), "");
  for (int i = 0; i < made; ++i) {
    const std::string name = "named" + std::to_string(i);
    EXPECT_EQ(e2e::ReadFile(At(name)), name);
    EXPECT_EQ(Attribute(At(name), "user.k"), "v " + name);
  }
}

TEST_F(BrokerDiesChanging, AttributesAndModes) {
  mkdir(At("dir").c_str(), 0755);
  int made = 0;
  const auto make = [&](mode_t mode) {
    const std::string path = At("file" + std::to_string(made++));
    e2e::WriteFile(path, "content");
    EXPECT_EQ(chmod(path.c_str(), mode), 0);
    return path;
  };
  for (const FaultPoint point : {FaultPoint::kTreeBeforeLog, FaultPoint::kTreeAfterLog}) {
    SCOPED_TRACE(NameOf(point));
    const std::string set = make(0644);
    EXPECT_EQ(
        DyingAt(point, 0,
                [&] { return ErrnoOf(setxattr(set.c_str(), "user.a", "one", 3, XATTR_CREATE)); }),
        0);
    EXPECT_EQ(Attribute(set, "user.a"), "one");
    EXPECT_EQ(DyingAt(point, 0, [&] { return ErrnoOf(removexattr(set.c_str(), "user.a")); }), 0);
    EXPECT_EQ(Attribute(set, "user.a"), kNone);

    const std::string listed = make(0644);
    const std::string acl = SomeAcl();
    EXPECT_EQ(DyingAt(point, 0,
                      [&] {
                        return ErrnoOf(setxattr(listed.c_str(), "system.posix_acl_access",
                                                acl.data(), acl.size(), 0));
                      }),
              0);
    EXPECT_EQ(e2e::Stat(listed).st_mode & 07777u, 0770u);
    // Changes the list too: two records.
    for (int64_t skip = 0; skip < 2; ++skip) {
      const mode_t mode = skip == 0 ? 0640 : 0620;
      EXPECT_EQ(DyingAt(point, skip, [&] { return ErrnoOf(chmod(listed.c_str(), mode)); }), 0);
      EXPECT_EQ(e2e::Stat(listed).st_mode & 07777u, mode);
    }

    const std::string given = make(06755);
    EXPECT_EQ(ErrnoOf(setxattr(given.c_str(), "security.capability", kCapability.data(),
                               kCapability.size(), 0)),
              0);
    EXPECT_EQ(DyingAt(point, 0, [&] { return ErrnoOf(chown(given.c_str(), 77, 78)); }), 0);
    EXPECT_EQ(e2e::Stat(given).st_mode & 07777u, 0755u);
    EXPECT_EQ(e2e::Stat(given).st_uid, 77u);
    EXPECT_EQ(Attribute(given, "security.capability"), kNone);

    const std::string cut = make(0644);
    EXPECT_EQ(DyingAt(point, 0, [&] { return ErrnoOf(truncate(cut.c_str(), 3)); }), 0);
    EXPECT_EQ(e2e::ReadFile(cut), "con");
  }
  const e2e::TreeEntries here = e2e::Tree(mount());
  RemountFresh();
  EXPECT_EQ(e2e::Difference(here, e2e::Tree(mount())), "");
  for (int i = 0; i < made; ++i) {
    const std::string path = At("file" + std::to_string(i));
    EXPECT_EQ(Attribute(path, "user.a"), kNone);
    EXPECT_EQ(Attribute(path, "security.capability"), kNone);
  }
}

TEST_F(BrokerDiesChanging, AttributesOfWhatHasNoNameStay) {
  e2e::WriteFile(At("old"), "content");
  e2e::WriteFile(At("new"), "content");
  for (const char* name : {"old", "new"}) {
    ASSERT_EQ(ErrnoOf(setxattr(At(name).c_str(), "user.before", name, 3, 0)), 0);
  }
  RemountFresh();  // of "old" nothing is cached
  UniqueFd old_one = e2e::Open(At("old"), O_RDWR);
  ASSERT_EQ(unlink(At("old").c_str()), 0);
  ASSERT_TRUE(e2e::WaitUntil(seconds(10), [&] {
    return host().SessionStatus("work").at("pending_mutations").get<uint64_t>() == 0;
  }));
  UniqueFd new_one = e2e::Open(At("new"), O_RDWR);
  ASSERT_EQ(unlink(At("new").c_str()), 0);
  UniqueFd nameless = e2e::Open(mount(), O_TMPFILE | O_RDWR, 0600);
  for (const UniqueFd* file : {&old_one, &new_one, &nameless}) {
    ASSERT_EQ(SetAttribute(file->get(), "user.after", "a"), 0);
    ASSERT_EQ(SetAttribute(file->get(), "user.gone", "g"), 0);
    ASSERT_EQ(ErrnoOf(fremovexattr(file->get(), "user.gone")), 0);
  }
  ASSERT_EQ(SetAttribute(nameless.get(), "system.posix_acl_access", SomeAcl()), 0);
  for (int round = 0; round < 3; ++round) {
    SCOPED_TRACE(round);
    EXPECT_EQ(Attribute(old_one.get(), "user.before"), "old");
    EXPECT_EQ(Attribute(new_one.get(), "user.before"), "new");
    for (const UniqueFd* file : {&old_one, &new_one, &nameless}) {
      EXPECT_EQ(Attribute(file->get(), "user.after"), "a");
      EXPECT_EQ(Attribute(file->get(), "user.gone"), kNone);
    }
    EXPECT_EQ(Attribute(nameless.get(), "system.posix_acl_access"), SomeAcl());
    Restart();
  }
  const std::string source = "/proc/self/fd/" + std::to_string(nameless.get());
  ASSERT_EQ(
      ErrnoOf(linkat(AT_FDCWD, source.c_str(), AT_FDCWD, At("named").c_str(), AT_SYMLINK_FOLLOW)),
      0);
  Restart();
  EXPECT_EQ(Attribute(At("named"), "user.after"), "a");
  EXPECT_EQ(Attribute(At("named"), "user.gone"), kNone);
  for (UniqueFd* file : {&old_one, &new_one, &nameless}) file->reset();
  RemountFresh();
  EXPECT_EQ(Attribute(At("named"), "user.after"), "a");
  EXPECT_EQ(Attribute(At("named"), "system.posix_acl_access"), SomeAcl());
}

// Set under the lease, and not at the gateway yet.
class UnsentAttributes : public BrokerDiesChanging, public testing::WithParamInterface<bool> {};

TEST_P(UnsentAttributes, OutliveTheBroker) {
  e2e::WriteFile(At("sent"), "content");
  ASSERT_EQ(ErrnoOf(setxattr(At("sent").c_str(), "user.sent", "s", 1, 0)), 0);
  ASSERT_TRUE(e2e::WaitUntil(seconds(10), [&] {
    return host().SessionStatus("work").at("pending_mutations").get<uint64_t>() == 0;
  }));
  EXPECT_EQ(e2e::NamesIn(mount()).size(), 1u);  // from here on no name needs a question
  host().FreezeGateway();
  e2e::WriteFile(At("unsent"), "content");
  mkdir(At("dir").c_str(), 0755);
  const std::string acl = SomeAcl();
  for (const char* name : {"sent", "unsent"}) {
    const std::string path = At(name);
    ASSERT_EQ(ErrnoOf(setxattr(path.c_str(), "user.a", "value", 5, 0)), 0);
    ASSERT_EQ(ErrnoOf(setxattr(path.c_str(), "user.b", "value", 5, 0)), 0);
    ASSERT_EQ(ErrnoOf(removexattr(path.c_str(), "user.b")), 0);
    ASSERT_EQ(ErrnoOf(setxattr(path.c_str(), "security.capability", kCapability.data(),
                               kCapability.size(), 0)),
              0);
    ASSERT_EQ(ErrnoOf(setxattr(path.c_str(), "system.posix_acl_access", acl.data(), acl.size(), 0)),
              0);
  }
  ASSERT_EQ(
      ErrnoOf(setxattr(At("dir").c_str(), "system.posix_acl_default", acl.data(), acl.size(), 0)),
      0);
  e2e::WriteFile(At("dir/heir"), "content");
  const auto check = [&](const char* name) {
    SCOPED_TRACE(name);
    EXPECT_EQ(Attribute(At(name), "user.a"), "value");
    EXPECT_EQ(Attribute(At(name), "user.b"), kNone);
    EXPECT_EQ(Attribute(At(name), "security.capability"), kCapability);
    EXPECT_EQ(Attribute(At(name), "system.posix_acl_access"), acl);
    EXPECT_EQ(e2e::Stat(At(name)).st_mode & 07777u, 0770u);
  };
  if (GetParam()) {
    Restart();
    // Nobody else knows of these: they are there without a gateway.
    check("unsent");
    EXPECT_EQ(Attribute(At("dir"), "system.posix_acl_default"), acl);
    const std::string heir = Attribute(At("dir/heir"), "system.posix_acl_access");
    e2e::WriteFile(At("dir/later"), "content");
    EXPECT_EQ(Attribute(At("dir/later"), "system.posix_acl_access"), heir);
    host().ThawGateway();
  } else {
    host().KillBrokerAndMounts();
    host().ThawGateway();
    host().StartBroker();
    host().Mount("work", "mnt");
  }
  check("sent");
  RemountFresh();
  check("sent");
  check("unsent");
  EXPECT_EQ(Attribute(At("sent"), "user.sent"), "s");
  EXPECT_EQ(Attribute(At("dir"), "system.posix_acl_default"), acl);
}

INSTANTIATE_TEST_SUITE_P(, UnsentAttributes, testing::Bool(),
                         [](const auto& mode) { return mode.param ? "Adopted" : "Replayed"; });

// A cut is seen before it is answered, and what is written behind it is not cut by the next broker.
TEST_F(BrokerDiesChanging, WhatWasWrittenBehindACutStays) {
  e2e::OtherBroker other(host());
  (void)other.Mount("work", "there");  // from now on a cut waits for the gateway
  const std::string second = host().Mount("work", "second");
  const std::string old = e2e::RandomBytes(1, 300'000);
  using Cut = std::function<int(const std::string&)>;
  const std::pair<const char*, Cut> cuts[] = {
      {"truncate", [](const std::string& path) { return ErrnoOf(truncate(path.c_str(), 0)); }},
      {"open",
       [](const std::string& path) { return ErrnoOf(e2e::Open(path, O_WRONLY | O_TRUNC).get()); }}};
  for (const auto& [name, cut] : cuts) {
    SCOPED_TRACE(name);
    e2e::WriteFile(At(name), old);
    OtherWriter behind(second + "/" + name);
    host().FreezeGateway();
    std::future<int> outcome =
        std::async(std::launch::async, [&cut = cut, path = At(name)] { return cut(path); });
    ASSERT_TRUE(e2e::WaitUntil(seconds(5), [&] { return e2e::Stat(At(name)).st_size == 0; }));
    ASSERT_TRUE(behind.Write("behind"));
    EXPECT_EQ(outcome.wait_for(seconds(0)), std::future_status::timeout) << "it did not wait";
    Restart();
    host().ThawGateway();
    EXPECT_EQ(outcome.get(), 0);
    EXPECT_EQ(e2e::ReadFile(At(name)), "behind");
    EXPECT_EQ(e2e::ReadFile(second + "/" + name), "behind");
  }
  host().Unmount(second);
  RemountFresh();
  for (const auto& [name, cut] : cuts) EXPECT_EQ(e2e::ReadFile(At(name)), "behind");
}

}  // namespace
}  // namespace airstore::fault
