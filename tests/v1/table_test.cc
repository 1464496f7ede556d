// SPDX-License-Identifier: Apache-2.0
//
// The table of README of what a v1 gateway cannot do, line by line: a line without a check fails,
// and so does a check without a line.
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <regex>

#include "tests/v1/v1_host.h"

namespace airstore::e2e {
namespace {

constexpr int kDone = 0;
constexpr int kWrong = -1;  // no errno, and not done

using Check = std::function<int(const std::string& mount)>;

int Setxattr(const std::string& path, const char* name, const std::string& value) {
  return ErrnoOf(setxattr(path.c_str(), name, value.data(), value.size(), 0));
}

int SetTimes(const std::string& path, time_t seconds, long nanoseconds) {
  const timespec times[2] = {{seconds, nanoseconds}, {seconds, nanoseconds}};
  return ErrnoOf(utimensat(AT_FDCWD, path.c_str(), times, 0));
}

int Rename(const std::string& from, const std::string& to, unsigned flags) {
  return ErrnoOf(syscall(SYS_renameat2, AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), flags));
}

int MakeSpecials(const std::string& mount) {
  const int fifo = ErrnoOf(mkfifo((mount + "/fifo").c_str(), 0600));
  const int device = ErrnoOf(mknod((mount + "/null").c_str(), S_IFCHR | 0600, makedev(1, 3)));
  const UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string path = mount + "/socket";
  std::copy(path.begin(), path.end(), address.sun_path);
  const int bound =
      ErrnoOf(bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address));
  return fifo == device && device == bound ? fifo : kWrong;
}

int SetAcl(const std::string& mount) {
  WriteFile(mount + "/acl", "");
  // Version 2; user::rw-, user:1000:rw-, group::r--, mask::rw-, other::r--.
  std::string acl("\x02\0\0\0", 4);
  const auto add = [&](uint16_t tag, uint16_t permissions, uint32_t id) {
    acl.append(reinterpret_cast<const char*>(&tag), sizeof tag);
    acl.append(reinterpret_cast<const char*>(&permissions), sizeof permissions);
    acl.append(reinterpret_cast<const char*>(&id), sizeof id);
  };
  add(1, 6, ~0u);
  add(2, 6, 1000);
  add(4, 4, ~0u);
  add(16, 6, ~0u);
  add(32, 4, ~0u);
  return Setxattr(mount + "/acl", "system.posix_acl_access", acl);
}

int Chmod(const std::string& mount) {
  const std::string path = mount + "/chmod";
  WriteFile(path, "content");
  const int error = ErrnoOf(chmod(path.c_str(), 0750));
  if (error != 0) return ReadFile(path) == "content" ? error : kWrong;
  return Stat(path).st_mode == (S_IFREG | 0750u) && ReadFile(path) == "content" ? kDone : kWrong;
}

int CloseLarge(const std::string& mount) {
  UniqueFd file = Open(mount + "/large", O_CREAT | O_RDWR);
  WriteAt(file.get(), "x", 65l << 20);
  return ErrnoOf(close(file.release()));
}

int Directories(const std::string& mount, bool full) {
  const std::string from = mount + (full ? "/from1" : "/from2");
  const std::string to = mount + (full ? "/to1" : "/to2");
  std::filesystem::create_directories(from + "/below");
  WriteFile(from + "/below/f", "content");
  if (full) std::filesystem::create_directories(to + "/x");
  const int error = Rename(from, to, 0);
  if (error != 0) return error;
  return ReadFile(to + "/below/f") == "content" && !Exists(from) ? kDone : kWrong;
}

int ListMany(const std::string& mount) {
  const std::string directory = mount + "/many";
  std::filesystem::create_directory(directory);
  for (int i = 0; i < 1100; ++i) {
    if (mkdir((directory + "/" + std::to_string(i)).c_str(), 0755) != 0) return errno;
  }
  // By another path than the one that knows what was made.
  const int error = Rename(directory, directory + "2", 0);
  if (error != 0) return error;
  return NamesIn(directory + "2").size() == 1100 ? kDone : kWrong;
}

int KeepDirectory(const std::string& mount) {
  const std::string directory = mount + "/kept";
  std::filesystem::create_directory(directory);
  WriteFile(directory + "/f", "");
  std::filesystem::remove(directory + "/f");
  WaitUntil(std::chrono::milliseconds(700), [] { return false; });  // what is known is aged
  return Exists(directory) && NamesIn(directory).empty() ? kDone : kWrong;
}

int NameNameless(const std::string& mount) {
  const UniqueFd file(open(mount.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  if (!file) return errno;
  WriteAt(file.get(), "content", 0);
  const std::string self = "/proc/self/fd/" + std::to_string(file.get());
  const int error = ErrnoOf(
      linkat(AT_FDCWD, self.c_str(), AT_FDCWD, (mount + "/named").c_str(), AT_SYMLINK_FOLLOW));
  if (error != 0) return error;
  return ReadFile(mount + "/named") == "content" ? kDone : kWrong;
}

class V1Table : public OriginalTest {
 protected:
  std::map<std::string, Check> Checks() {
    const auto with_file = [](std::function<int(const std::string&)> check) {
      return [check](const std::string& mount) {
        WriteFile(mount + "/file", "content");
        return check(mount + "/file");
      };
    };
    return {
        {"hard link",
         with_file([](const auto& f) { return ErrnoOf(link(f.c_str(), (f + ".l").c_str())); })},
        {"FIFO, socket, device", MakeSpecials},
        {"set an extended attribute",
         with_file([](const auto& f) { return Setxattr(f, "user.a", "b"); })},
        {"set an access control list", SetAcl},
        {"give a file to another user",
         with_file([](const auto& f) { return ErrnoOf(chown(f.c_str(), 1234, 1234)); })},
        {"set times to other than now",
         with_file([](const auto& f) { return SetTimes(f, 1'000'000'000, 0); })},
        {"set the times of a directory",
         [](const auto& mount) { return SetTimes(mount, 1'000'000'000, 0); }},
        {"set the times of a file to now",
         with_file([](const auto& f) { return SetTimes(f, 0, UTIME_NOW); })},
        {"change a mode", Chmod},
        {"exchange two names", with_file([](const auto& f) {
           WriteFile(f + ".2", "");
           return Rename(f, f + ".2", RENAME_EXCHANGE);
         })},
        {"make a name that is no UTF-8",
         [](const auto& mount) {
           return ErrnoOf(open((mount + "/\xff").c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600));
         }},
        {"make a name that begins with `._`",
         [](const auto& mount) {
           return ErrnoOf(open((mount + "/._x").c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600));
         }},
        {"truncate a file to more than 64 MiB",
         with_file([](const auto& f) { return ErrnoOf(truncate(f.c_str(), (64l << 20) + 1)); })},
        {"close a file of more than 64 MiB", CloseLarge},
        {"make a path of more than 1024 bytes",
         [](const auto& mount) {
           std::string path = mount;
           int error = 0;
           for (int i = 0; i < 6 && error == 0; ++i) {
             path += "/" + std::string(200, 'n');
             error = ErrnoOf(mkdir(path.c_str(), 0755));
           }
           return error;
         }},
        {"remove a reserved folder",
         [](const auto& mount) {
           std::filesystem::create_directory(mount + "/Skills");
           return ErrnoOf(rmdir((mount + "/Skills").c_str()));
         }},
        {"remove a directory that is not empty",
         [](const auto& mount) {
           std::filesystem::create_directories(mount + "/full/x");
           return ErrnoOf(rmdir((mount + "/full").c_str()));
         }},
        {"remove what is not there",
         [](const auto& mount) { return ErrnoOf(unlink((mount + "/none").c_str())); }},
        {"create a file that is there, exclusively", with_file([](const auto& f) {
           const int error = ErrnoOf(open(f.c_str(), O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600));
           return ReadFile(f) == "content" ? error : kWrong;
         })},
        {"rename a directory", [](const auto& mount) { return Directories(mount, false); }},
        {"rename a directory onto one that is not empty",
         [](const auto& mount) { return Directories(mount, true); }},
        {"rename without replacing", with_file([](const auto& f) {
           WriteFile(f + ".2", "");
           return Rename(f, f + ".2", RENAME_NOREPLACE);
         })},
        {"write at the beginning of a file", with_file([](const auto& f) {
           WriteAt(Open(f, O_RDWR).get(), "CON", 0);
           return ReadFile(f) == "CONtent" ? kDone : kWrong;
         })},
        {"list more than 1,000 names", ListMany},
        {"keep a directory whose last name goes", KeepDirectory},
        {"give a name to a file made without one", NameNameless},
        {"lock a file against other mounts of this host",
         [this](const auto& mount) {
           const std::string other = Mount("other");
           WriteFile(mount + "/locked", "");
           const UniqueFd one = Open(mount + "/locked", O_RDWR);
           const UniqueFd two = Open(other + "/locked", O_RDWR);
           if (flock(one.get(), LOCK_EX | LOCK_NB) != 0) return errno;
           if (flock(two.get(), LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) return kWrong;
           flock(one.get(), LOCK_UN);
           return ErrnoOf(flock(two.get(), LOCK_EX | LOCK_NB));
         }},
    };
  }
};

class V1TableFirstEra : public OriginalTest {
 protected:
  bool FirstEra() const override { return true; }
};

// Operation and outcome, by line.
std::map<std::string, std::string> Lines() {
  std::ifstream readme(AIRSTORE_README);
  std::map<std::string, std::string> lines;
  bool inside = false;
  for (std::string line; std::getline(readme, line);) {
    if (line.rfind("##", 0) == 0) inside = line == "### What a v1 gateway cannot do";
    const std::regex row("\\| (.*) \\| `?([A-Z]+|done)`? \\|");
    if (std::smatch parts; inside && std::regex_match(line, parts, row)) {
      lines[parts[1]] = parts[2];
    }
  }
  return lines;
}

std::string Outcome(int error) {
  return error == kDone ? "done" : error == kWrong ? "wrong" : strerrorname_np(error);
}

TEST_F(V1Table, EveryLineIsTrue) {
  std::map<std::string, std::string> lines = Lines();
  ASSERT_GT(lines.size(), 20u);
  for (const auto& [name, check] : Checks()) {
    const auto line = lines.find(name);
    ASSERT_NE(line, lines.end()) << "no line about: " << name;
    std::string found = Outcome(check(mount()));
    if (found == "ENOTSUP") found = "EOPNOTSUPP";
    EXPECT_EQ(found, line->second) << name;
    lines.erase(line);
  }
  lines.erase("change a mode, first era");
  for (const auto& [name, outcome] : lines) ADD_FAILURE() << "nothing checks the line: " << name;
}

TEST_F(V1TableFirstEra, ModesAreNotKept) {
  EXPECT_EQ(Outcome(Chmod(mount())), Lines()["change a mode, first era"]);
  WriteFile(At("f"), "x");
  EXPECT_EQ(Stat(At("f")).st_mode, S_IFREG | 0644u) << "what is shown is what is kept";
  std::filesystem::create_directories(At("d/e"));
  WriteFile(At("d/e/f"), "below");
  ASSERT_EQ(symlink("f", At("d/e/l").c_str()), 0);
  std::filesystem::rename(At("d"), At("moved"));
  RemountFresh();
  EXPECT_EQ(ReadFile(At("moved/e/f")), "below");
  EXPECT_EQ(NamesIn(At("moved/e")), (std::set<std::string>{"f", "l"}));
  EXPECT_EQ(std::filesystem::read_symlink(At("moved/e/l")), "f");
}

// What such a gateway has beside files is known by names in lower case; none is shown here, because
// the stand-in has nothing, but they are the ones that are kept free.
TEST_F(V1TableFirstEra, NamesAreInLowerCase) {
  host().Unmount(mount());
  Mount("mnt", {"--virtual", "on"});
  EXPECT_EQ(NamesIn(mount()), (std::set<std::string>{".airstore", "sources", "tasks", "tools"}));
  EXPECT_EQ(ErrnoOf(rmdir(At("tools").c_str())), EPERM);
  std::filesystem::create_directory(At("Tools"));
  WriteFile(At("Tools/f"), "storage's");
  EXPECT_EQ(ReadFile(At("Tools/f")), "storage's");
}

}  // namespace
}  // namespace airstore::e2e
