// SPDX-License-Identifier: Apache-2.0
#include "tests/e2e/support/files.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <xxhash.h>

#include <cerrno>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <sstream>
#include <stdexcept>
#include <vector>

namespace airstore::e2e {
namespace {

[[noreturn]] void Fail(const std::string& what) {
  throw std::runtime_error(what + ": " + strerror(errno));
}

std::string HashOf(const std::string& path) {
  const UniqueFd file = Open(path, O_RDONLY);
  const std::unique_ptr<XXH3_state_t, XXH_errorcode (*)(XXH3_state_t*)> state(XXH3_createState(),
                                                                              XXH3_freeState);
  XXH3_64bits_reset(state.get());
  std::vector<char> buffer(1 << 20);
  for (;;) {
    const ssize_t got = read(file.get(), buffer.data(), buffer.size());
    if (got < 0) Fail("read " + path);
    if (got == 0) break;
    XXH3_64bits_update(state.get(), buffer.data(), static_cast<size_t>(got));
  }
  std::ostringstream out;
  out << std::hex << XXH3_64bits_digest(state.get());
  return out.str();
}

std::string TargetOf(const std::string& path) {
  std::vector<char> target(4097);
  const ssize_t length = readlink(path.c_str(), target.data(), target.size());
  if (length < 0) Fail("readlink " + path);
  return std::string(target.data(), static_cast<size_t>(length));
}

// Sorted by name: file systems list them in any order.
std::string XattrsOf(const std::string& path) {
  std::vector<char> names(65536), value(65536);
  const ssize_t length = llistxattr(path.c_str(), names.data(), names.size());
  if (length < 0) Fail("llistxattr " + path);
  std::map<std::string, std::string> found;
  for (const char* name = names.data(); name < names.data() + length; name += strlen(name) + 1) {
    const ssize_t got = lgetxattr(path.c_str(), name, value.data(), value.size());
    if (got < 0) Fail("lgetxattr " + path);
    std::ostringstream hash;
    hash << got << ":" << std::hex << XXH3_64bits(value.data(), static_cast<size_t>(got));
    found[name] = hash.str();
  }
  std::string text;
  for (const auto& [name, hash] : found) text += " " + name + "=" + hash;
  return text;
}

std::string Describe(const std::string& path, const struct stat& info, const TreeOptions& options) {
  std::ostringstream out;
  out << std::oct << "mode " << info.st_mode << std::dec;
  if (options.owners) out << " owner " << info.st_uid << ":" << info.st_gid;
  if (options.times) {
    out << " mtime " << info.st_mtim.tv_sec << "." << info.st_mtim.tv_nsec;
  }
  out << " links " << info.st_nlink;
  if (S_ISREG(info.st_mode)) out << " size " << info.st_size << " content " << HashOf(path);
  if (S_ISLNK(info.st_mode)) out << " to " << TargetOf(path);
  if (S_ISBLK(info.st_mode) || S_ISCHR(info.st_mode)) {
    out << " device " << major(info.st_rdev) << ":" << minor(info.st_rdev);
  }
  if (options.xattrs) out << XattrsOf(path);
  return out.str();
}

}  // namespace

void MakeMutable(const std::string& path) {
  const UniqueFd file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  int flags = 0;
  if (!file || ioctl(file.get(), FS_IOC_GETFLAGS, &flags) != 0) return;
  flags &= ~FS_IMMUTABLE_FL;
  (void)ioctl(file.get(), FS_IOC_SETFLAGS, &flags);
}

UniqueFd Open(const std::string& path, int flags, mode_t mode) {
  UniqueFd fd(open(path.c_str(), flags | O_CLOEXEC, mode));
  if (!fd) Fail("open " + path);
  return fd;
}

std::string ReadFile(const std::string& path) {
  const UniqueFd file = Open(path, O_RDONLY);
  std::string content;
  std::vector<char> buffer(1 << 20);
  for (;;) {
    const ssize_t got = read(file.get(), buffer.data(), buffer.size());
    if (got < 0) Fail("read " + path);
    if (got == 0) return content;
    content.append(buffer.data(), static_cast<size_t>(got));
  }
}

void WriteFile(const std::string& path, const std::string& content) {
  UniqueFd file = Open(path, O_WRONLY | O_CREAT | O_TRUNC);
  WriteAt(file.get(), content, 0);
  if (close(file.release()) != 0) Fail("close " + path);
}

std::string ReadSome(int fd, size_t length, off_t offset) {
  std::string content(length, '\0');
  const ssize_t got = pread(fd, content.data(), length, offset);
  if (got < 0) Fail("pread");
  content.resize(static_cast<size_t>(got));
  return content;
}

void WriteAt(int fd, const std::string& content, off_t offset) {
  size_t done = 0;
  while (done < content.size()) {
    const ssize_t wrote =
        pwrite(fd, content.data() + done, content.size() - done, offset + static_cast<off_t>(done));
    if (wrote < 0) Fail("pwrite");
    done += static_cast<size_t>(wrote);
  }
}

struct stat Stat(const std::string& path) {
  struct stat info {};
  if (lstat(path.c_str(), &info) != 0) Fail("stat " + path);
  return info;
}

bool Exists(const std::string& path) {
  struct stat info {};
  return lstat(path.c_str(), &info) == 0;
}

std::set<std::string> NamesIn(const std::string& directory) {
  const std::unique_ptr<DIR, int (*)(DIR*)> opened(opendir(directory.c_str()), closedir);
  if (!opened) Fail("opendir " + directory);
  std::set<std::string> names;
  for (;;) {
    errno = 0;
    const dirent* entry = readdir(opened.get());
    if (entry == nullptr) break;
    const std::string name = entry->d_name;
    if (name == "." || name == "..") continue;
    if (!names.insert(name).second) {
      throw std::runtime_error(directory + " lists the name " + name + " twice");
    }
  }
  if (errno != 0) Fail("readdir " + directory);
  return names;
}

std::string RandomBytes(uint64_t seed, size_t length) {
  std::mt19937_64 random(seed);
  std::string bytes((length + 7) / 8 * 8, '\0');
  for (size_t at = 0; at < bytes.size(); at += 8) {
    const uint64_t word = random();
    memcpy(bytes.data() + at, &word, sizeof word);
  }
  bytes.resize(length);
  return bytes;
}

TreeEntries Tree(const std::string& root, const TreeOptions& options) {
  TreeEntries entries;
  std::map<ino_t, std::string> seen;  // the first name of each file of several names
  const std::function<void(const std::string&)> walk = [&](const std::string& below) {
    for (const std::string& name : NamesIn(root + below)) {
      const std::string path = below + "/" + name;
      const struct stat info = Stat(root + path);
      std::string text = Describe(root + path, info, options);
      if (!S_ISDIR(info.st_mode) && info.st_nlink > 1) {
        text += " same as " + seen.emplace(info.st_ino, path).first->second;
      }
      entries.emplace(path, std::move(text));
      if (S_ISDIR(info.st_mode)) walk(path);
    }
  };
  walk("");
  return entries;
}

std::string Difference(const TreeEntries& expected, const TreeEntries& found) {
  std::string text;
  int count = 0;
  const auto add = [&](const std::string& line) {
    if (++count <= 10) text += line + "\n";
  };
  for (const auto& [path, entry] : expected) {
    const auto at = found.find(path);
    if (at == found.end()) {
      add(path + " is missing");
    } else if (at->second != entry) {
      add(path + "\n  expected " + entry + "\n  found    " + at->second);
    }
  }
  for (const auto& [path, entry] : found) {
    if (!expected.contains(path)) add(path + " should not be there: " + entry);
  }
  if (count > 10) text += "... and " + std::to_string(count - 10) + " more\n";
  return text;
}

}  // namespace airstore::e2e
