// SPDX-License-Identifier: Apache-2.0
//
// Extended attributes and access control lists.
#include <fcntl.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cstring>

#include "tests/e2e/basics.h"

namespace airstore::e2e {
namespace {

constexpr uid_t kUser = 65534;
constexpr uid_t kOther = 65533;

class BasicsXattrs : public Basics {
 protected:
  int Set(const std::string& name, const std::string& attribute, const std::string& value,
          int flags = 0) {
    return ErrnoOf(
        lsetxattr(At(name).c_str(), attribute.c_str(), value.data(), value.size(), flags));
  }
  // Or "error N".
  std::string Get(const std::string& name, const std::string& attribute) {
    std::string value(70'000, '\0');
    const ssize_t got = lgetxattr(At(name).c_str(), attribute.c_str(), value.data(), value.size());
    if (got < 0) return "error " + std::to_string(errno);
    value.resize(static_cast<size_t>(got));
    return value;
  }
  std::set<std::string> List(const std::string& name) {
    std::string names(70'000, '\0');
    const ssize_t got = llistxattr(At(name).c_str(), names.data(), names.size());
    EXPECT_GE(got, 0) << strerror(errno);
    std::set<std::string> all;
    for (size_t at = 0; got > 0 && at < static_cast<size_t>(got);) {
      all.insert(names.c_str() + at);
      at += strlen(names.c_str() + at) + 1;
    }
    return all;
  }
  static std::string Error(int code) { return "error " + std::to_string(code); }
  Finished As(uid_t uid, const std::string& command) {
    return RunProgram({"/bin/sh", "-ec", command}, {.directory = mount(), .uid = uid});
  }
  uint64_t Counter(const std::string& name) {
    return host().MountStatus(mount()).at("counters").at(name).get<uint64_t>();
  }
};

struct AclEntry {
  uint16_t tag;
  uint16_t permissions;
  uint32_t id;
};
std::string Acl(const std::vector<AclEntry>& entries) {
  const posix_acl_xattr_header header{POSIX_ACL_XATTR_VERSION};
  std::string out(reinterpret_cast<const char*>(&header), sizeof header);
  for (const AclEntry& entry : entries) {
    const posix_acl_xattr_entry raw{entry.tag, entry.permissions, entry.id};
    out.append(reinterpret_cast<const char*>(&raw), sizeof raw);
  }
  return out;
}
constexpr uint32_t kNobody = static_cast<uint32_t>(ACL_UNDEFINED_ID);
constexpr const char* kAccess = "system.posix_acl_access";
constexpr const char* kDefault = "system.posix_acl_default";

TEST_F(BasicsXattrs, KeepsAttributesOfEachKind) {
  WriteFile(At("f"), "x");
  mkdir(At("d").c_str(), 0755);
  ASSERT_EQ(symlink("f", At("l").c_str()), 0);
  const std::string binary("\0\xff\n", 3);
  EXPECT_EQ(List("f"), std::set<std::string>{});
  EXPECT_EQ(Get("f", "user.a"), Error(ENODATA));
  EXPECT_EQ(Set("f", "user.a", "value"), 0);
  EXPECT_EQ(Set("f", "user.empty", ""), 0);
  EXPECT_EQ(Set("f", "user.\xff not utf-8", binary), 0);
  EXPECT_EQ(Set("d", "user.a", "of a directory"), 0);
  EXPECT_EQ(Set("d", "trusted.overlay.opaque", "y"), 0);
  EXPECT_EQ(Set("l", "trusted.t", "of a link"), 0);
  EXPECT_EQ(Set("f", "security.other", "s"), 0);
  EXPECT_EQ(Set("l", "user.a", "x"), EPERM);
  EXPECT_EQ(Set("f", "system.other", "x"), EOPNOTSUPP);
  EXPECT_EQ(Set("f", "plain", "x"), EOPNOTSUPP);
  const auto check = [&] {
    EXPECT_EQ(Get("f", "user.a"), "value");
    EXPECT_EQ(Get("f", "user.empty"), "");
    EXPECT_EQ(Get("f", "user.\xff not utf-8"), binary);
    EXPECT_EQ(Get("d", "user.a"), "of a directory");
    EXPECT_EQ(Get("d", "trusted.overlay.opaque"), "y");
    EXPECT_EQ(Get("l", "trusted.t"), "of a link");
    EXPECT_EQ(List("f"), (std::set<std::string>{"user.a", "user.empty", "user.\xff not utf-8",
                                                "security.other"}));
  };
  check();
  RemountFresh();
  check();
  EXPECT_EQ(ErrnoOf(removexattr(At("f").c_str(), "user.a")), 0);
  EXPECT_EQ(ErrnoOf(removexattr(At("f").c_str(), "user.a")), ENODATA);
  EXPECT_EQ(Get("f", "user.a"), Error(ENODATA));
  RemountFresh();
  EXPECT_EQ(Get("f", "user.a"), Error(ENODATA));
  EXPECT_EQ(List("d"), (std::set<std::string>{"trusted.overlay.opaque", "user.a"}));
}

TEST_F(BasicsXattrs, OpenFilesKeepThemWithoutAName) {
  for (const char* name : {"unlinked", "replaced"}) {
    WriteFile(At(name), "content");
    ASSERT_EQ(Set(name, "user.k", name), 0);
  }
  WriteFile(At("other"), "other");
  RemountFresh();  // nobody has asked for them
  const UniqueFd unlinked = Open(At("unlinked"), O_RDONLY);
  const UniqueFd replaced = Open(At("replaced"), O_RDONLY);
  ASSERT_EQ(unlink(At("unlinked").c_str()), 0);
  ASSERT_EQ(Rename("other", "replaced"), 0);
  const auto get = [](int fd) {
    std::string value(100, '\0');
    const ssize_t got = fgetxattr(fd, "user.k", value.data(), value.size());
    return got < 0 ? Error(errno) : value.substr(0, static_cast<size_t>(got));
  };
  EXPECT_EQ(get(unlinked.get()), "unlinked");
  EXPECT_EQ(get(replaced.get()), "replaced");
}

TEST_F(BasicsXattrs, HonoursFlagsAndSizes) {
  WriteFile(At("f"), "x");
  EXPECT_EQ(Set("f", "user.a", "1", XATTR_REPLACE), ENODATA);
  EXPECT_EQ(Set("f", "user.a", "1", XATTR_CREATE), 0);
  EXPECT_EQ(Set("f", "user.a", "2", XATTR_CREATE), EEXIST);
  EXPECT_EQ(Set("f", "user.a", "23", XATTR_REPLACE), 0);
  char small[1];
  EXPECT_EQ(getxattr(At("f").c_str(), "user.a", nullptr, 0), 2);
  EXPECT_EQ(ErrnoOf(getxattr(At("f").c_str(), "user.a", small, 1)), ERANGE);
  EXPECT_EQ(listxattr(At("f").c_str(), nullptr, 0), 7);
  EXPECT_EQ(ErrnoOf(listxattr(At("f").c_str(), small, 1)), ERANGE);
  const std::string longest = RandomBytes(5, 65'536);
  EXPECT_EQ(Set("f", "user.longest", longest), 0);
  EXPECT_EQ(Get("f", "user.longest"), longest);
  EXPECT_EQ(Set("f", "user.too long", longest + "x"), E2BIG);
  const std::string name = "user." + std::string(250, 'n');
  EXPECT_EQ(Set("f", name, "x"), 0);
  EXPECT_EQ(Set("f", name + "n", "x"), ERANGE);
  int code = 0;
  int count = 0;
  for (; count < 20 && code == 0; ++count) {
    code = Set("f", "user.more" + std::to_string(count), longest);
  }
  EXPECT_EQ(code, ENOSPC) << "of one file a mebibyte";
  EXPECT_GT(count, 10);
  RemountFresh();
  EXPECT_EQ(Get("f", "user.longest"), longest);
  EXPECT_EQ(Get("f", name), "x");
}

TEST_F(BasicsXattrs, ChangeTheTimeOfTheInodeOnly) {
  WriteFile(At("f"), "x");
  const timespec past[2] = {{1000, 0}, {1000, 0}};
  utimensat(AT_FDCWD, At("f").c_str(), past, 0);
  const struct stat before = Stat(At("f"));
  ASSERT_EQ(Set("f", "user.a", "1"), 0);
  const struct stat after = Stat(At("f"));
  EXPECT_EQ(after.st_mtim.tv_sec, 1000);
  EXPECT_GT(after.st_ctim.tv_sec * 1'000'000'000 + after.st_ctim.tv_nsec,
            before.st_ctim.tv_sec * 1'000'000'000 + before.st_ctim.tv_nsec);
}

TEST_F(BasicsXattrs, OrdinaryUsersHaveTheirOwn) {
  WriteFile(At("mine"), "x");
  (void)chown(At("mine").c_str(), kUser, kUser);
  ASSERT_EQ(Set("mine", "trusted.t", "secret"), 0);
  const std::string script =
      "import os,errno\n"
      "os.setxattr('mine','user.a',b'1')\n"
      "print(os.getxattr('mine','user.a'), os.listxattr('mine'))\n"
      "def code(f,*a):\n"
      "  try: f(*a)\n"
      "  except OSError as e: return errno.errorcode[e.errno]\n"
      "print(code(os.getxattr,'mine','trusted.t'), code(os.setxattr,'mine','trusted.u',b'1'),"
      " code(os.setxattr,'roots','user.a',b'1'), code(os.setxattr,'mine','security.x',b'1'))\n";
  WriteFile(At("roots"), "x");
  const Finished ran =
      RunProgram({"/usr/bin/python3", "-c", script}, {.directory = mount(), .uid = kUser});
  EXPECT_EQ(ran.out, "b'1' ['user.a']\nENODATA EPERM EACCES EPERM\n") << ran.All();
}

TEST_F(BasicsXattrs, AreTheSameOnEveryMount) {
  const std::string other = host().Mount("work", "mnt2");
  WriteFile(At("f"), "x");
  char value[8];
  const auto get = [&](const char* name) {
    const ssize_t got = getxattr((other + "/f").c_str(), name, value, sizeof value);
    return got < 0 ? Error(errno) : std::string(value, static_cast<size_t>(got));
  };
  EXPECT_EQ(get("user.a"), Error(ENODATA));
  ASSERT_EQ(Set("f", "user.a", "1"), 0);
  EXPECT_EQ(get("user.a"), "1");
  ASSERT_EQ(Set("f", "user.a", "22"), 0);
  EXPECT_EQ(get("user.a"), "22");
  ASSERT_EQ(removexattr(At("f").c_str(), "user.a"), 0);
  EXPECT_EQ(get("user.a"), Error(ENODATA));
}

TEST_F(BasicsXattrs, FilesWithoutThemCostNoCall) {
  for (int i = 0; i < 50; ++i) WriteFile(At("f" + std::to_string(i)), "x");
  RemountFresh();
  RunOk({"ls", "-l", mount()});
  const uint64_t before = Counter("broker_calls");
  for (int i = 0; i < 50; ++i) {
    EXPECT_EQ(Get("f" + std::to_string(i), "user.none"), Error(ENODATA));
    EXPECT_EQ(Get("f" + std::to_string(i), "security.capability"), Error(ENODATA));
    EXPECT_EQ(List("f" + std::to_string(i)), std::set<std::string>{});
  }
  EXPECT_EQ(Counter("broker_calls"), before);
}

TEST_F(BasicsXattrs, WritesAskForCapabilitiesOnceAtMost) {
  const UniqueFd file = Open(At("f"), O_RDWR | O_CREAT);
  WriteAt(file.get(), "first", 0);
  const uint64_t calls = Counter("broker_calls");
  const uint64_t requests = Counter("requests");
  const uint64_t writes = Counter("writes");
  for (int i = 0; i < 100; ++i) WriteAt(file.get(), "again", i);
  EXPECT_EQ(Counter("broker_calls"), calls);
  // What is not the writes themselves.
  EXPECT_LT(Counter("requests") - requests - (Counter("writes") - writes), 10u);
}

TEST_F(BasicsXattrs, KeepsFileCapabilities) {
  WriteFile(At("f"), "x");
  chmod(At("f").c_str(), 0755);
  RunOk({"/usr/sbin/setcap", "cap_net_raw+ep", At("f")});
  const auto has = [&] { return RunOk({"/usr/sbin/getcap", At("f")}); };
  EXPECT_NE(has().find("cap_net_raw=ep"), std::string::npos);
  RemountFresh();
  EXPECT_NE(has().find("cap_net_raw=ep"), std::string::npos);
  { WriteAt(Open(At("f"), O_WRONLY).get(), "y", 0); }
  EXPECT_EQ(has(), "") << "a write takes them away";
  RunOk({"/usr/sbin/setcap", "cap_net_raw+ep", At("f")});
  {
    alignas(4096) static char page[4096] = {'y'};
    ASSERT_EQ(write(Open(At("f"), O_WRONLY | O_DIRECT).get(), page, sizeof page), 4096);
  }
  EXPECT_EQ(has(), "") << "by whatever way";
  RunOk({"/usr/sbin/setcap", "cap_net_raw+ep", At("f")});
  Open(At("f"), O_WRONLY | O_TRUNC);
  EXPECT_EQ(has(), "") << "and so does O_TRUNC";
  RunOk({"/usr/sbin/setcap", "cap_net_raw+ep", At("f")});
  (void)chown(At("f").c_str(), kUser, kUser);
  EXPECT_EQ(has(), "") << "and so does chown";
}

// Writes that come to the daemon as they are, because several mounts write.
TEST_F(BasicsXattrs, CapabilitiesEndWithAWriteOfAnyMount) {
  Arguments without;
  if (getenv("AIRSTORE_E2E_MOUNT_ARGUMENTS") == nullptr) without = {"--passthrough", "off"};
  const std::string mounts[] = {host().Mount("work", "a", without),
                                host().Mount("work", "b", without)};
  WriteFile(mounts[0] + "/f", "x");
  const auto set = [&] { RunOk({"/usr/sbin/setcap", "cap_net_raw+ep", mounts[0] + "/f"}); };
  for (const std::string& mount : mounts) {
    for (const int flags : {0, O_APPEND}) {
      set();
      const UniqueFd file = Open(mount + "/f", O_WRONLY | flags);
      for (const char* when : {"before it was opened", "since"}) {
        ASSERT_EQ(write(file.get(), "y", 1), 1);
        for (const std::string& seen : mounts) {
          EXPECT_EQ(RunOk({"/usr/sbin/getcap", seen + "/f"}), "") << mount << " set " << when;
        }
        set();
      }
    }
  }
}

TEST_F(BasicsXattrs, AccessControlListsGrantAndDeny) {
  WriteFile(At("f"), "content\n");
  chmod(At("f").c_str(), 0600);
  EXPECT_NE(As(kUser, "cat f").code, 0);
  const std::string list = Acl({{ACL_USER_OBJ, 6, kNobody},
                                {ACL_USER, 6, kUser},
                                {ACL_GROUP_OBJ, 0, kNobody},
                                {ACL_MASK, 4, kNobody},
                                {ACL_OTHER, 0, kNobody}});
  ASSERT_EQ(Set("f", kAccess, list), 0);
  const auto check = [&] {
    EXPECT_EQ(Stat(At("f")).st_mode & 07777, 0640u) << "the mask is the group's";
    EXPECT_EQ(Get("f", kAccess), list);
    EXPECT_EQ(As(kUser, "cat f").out, "content\n");
    EXPECT_NE(As(kUser, "echo x >> f").code, 0) << "the mask takes writing away";
    EXPECT_NE(As(kOther, "cat f").code, 0);
  };
  check();
  RemountFresh();
  check();
  // chmod changes the mask, and the list with it.
  ASSERT_EQ(chmod(At("f").c_str(), 0660), 0);
  EXPECT_EQ(As(kUser, "echo more >> f").code, 0);
  EXPECT_EQ(Get("f", kAccess), Acl({{ACL_USER_OBJ, 6, kNobody},
                                    {ACL_USER, 6, kUser},
                                    {ACL_GROUP_OBJ, 0, kNobody},
                                    {ACL_MASK, 6, kNobody},
                                    {ACL_OTHER, 0, kNobody}}));
  ASSERT_EQ(chmod(At("f").c_str(), 0600), 0);
  EXPECT_NE(As(kUser, "cat f").code, 0);
  RemountFresh();
  EXPECT_NE(As(kUser, "cat f").code, 0);
  ASSERT_EQ(removexattr(At("f").c_str(), kAccess), 0);
  EXPECT_EQ(List("f"), std::set<std::string>{});
  EXPECT_EQ(Stat(At("f")).st_mode & 07777, 0600u);
}

TEST_F(BasicsXattrs, AccessControlListsThatAModeSaysAreModes) {
  WriteFile(At("f"), "x");
  const std::string list =
      Acl({{ACL_USER_OBJ, 7, kNobody}, {ACL_GROUP_OBJ, 5, kNobody}, {ACL_OTHER, 1, kNobody}});
  ASSERT_EQ(Set("f", kAccess, list), 0);
  EXPECT_EQ(Stat(At("f")).st_mode & 07777, 0751u);
  EXPECT_EQ(List("f"), std::set<std::string>{});
  EXPECT_EQ(Set("f", kAccess, "abc"), EINVAL);
  EXPECT_EQ(Set("f", kDefault, list), EACCES) << "files have none";
  RemountFresh();
  EXPECT_EQ(Stat(At("f")).st_mode & 07777, 0751u);
}

TEST_F(BasicsXattrs, DefaultAccessControlListsAreInherited) {
  mkdir(At("d").c_str(), 0755);
  const std::string list = Acl({{ACL_USER_OBJ, 7, kNobody},
                                {ACL_USER, 7, kUser},
                                {ACL_GROUP_OBJ, 5, kNobody},
                                {ACL_MASK, 7, kNobody},
                                {ACL_OTHER, 0, kNobody}});
  ASSERT_EQ(Set("d", kDefault, list), 0);
  RemountFresh();
  const mode_t mask = umask(077);
  Open(At("d/f"), O_WRONLY | O_CREAT, 0666);
  mkdir(At("d/sub").c_str(), 0777);
  ASSERT_EQ(mknod(At("d/pipe").c_str(), S_IFIFO | 0666, 0), 0);
  Open(At("plain"), O_WRONLY | O_CREAT, 0666);
  umask(mask);
  const auto check = [&] {
    EXPECT_EQ(Stat(At("plain")).st_mode & 07777, 0600u) << "there the umask holds";
    EXPECT_EQ(Stat(At("d/f")).st_mode & 07777, 0660u) << "the list, and not the umask";
    EXPECT_EQ(Stat(At("d/pipe")).st_mode & 07777, 0660u);
    EXPECT_EQ(Stat(At("d/sub")).st_mode & 07777, 0770u);
    EXPECT_EQ(Get("d/f", kAccess), Acl({{ACL_USER_OBJ, 6, kNobody},
                                        {ACL_USER, 7, kUser},
                                        {ACL_GROUP_OBJ, 5, kNobody},
                                        {ACL_MASK, 6, kNobody},
                                        {ACL_OTHER, 0, kNobody}}));
    EXPECT_EQ(Get("d/sub", kDefault), list);
    EXPECT_EQ(Get("d/f", kDefault), Error(ENODATA));
  };
  check();
  RemountFresh();
  check();
  EXPECT_EQ(As(kUser, "echo y >> d/f && touch d/sub/new").code, 0);
}

}  // namespace
}  // namespace airstore::e2e
