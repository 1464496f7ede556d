// SPDX-License-Identifier: Apache-2.0
#include "tests/posix/snapshot.h"

#include <fcntl.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <sstream>

#include "tests/e2e/support/files.h"

namespace airstore::posix {
namespace {

// Larger files are holes but for their beginning.
constexpr size_t kLooksAt = 65536;
// What tests set is before, what the clock says is after.
constexpr time_t kPast = 1'600'000'000;

bool Before(const timespec& one, const timespec& two) {
  return one.tv_sec != two.tv_sec ? one.tv_sec < two.tv_sec : one.tv_nsec < two.tv_nsec;
}

std::string Fate(const timespec& now, const timespec* before) {
  if (now.tv_sec < kPast) return std::to_string(now.tv_sec) + "." + std::to_string(now.tv_nsec);
  if (before == nullptr) return "new";
  if (Before(*before, now)) return "moved";
  return Before(now, *before) ? "back" : "kept";
}

std::string TextOf(const std::string& bytes) {
  std::ostringstream out;
  for (size_t at = 0; at < bytes.size();) {
    const size_t end = std::min(bytes.find_first_not_of(bytes[at], at), bytes.size());
    const auto byte = static_cast<unsigned char>(bytes[at]);
    if (byte >= ' ' && byte < 127) {
      out << bytes[at];
    } else {
      out << "\\" << static_cast<int>(byte);
    }
    if (end - at > 1) out << "*" << end - at;
    at = end;
  }
  return out.str();
}

}  // namespace

void Snapshot::Walk(const std::string& path, bool contents) {
  File file{e2e::Stat(path), {}};
  if (contents && S_ISLNK(file.info.st_mode)) {
    file.content.resize(4096);
    const ssize_t length = readlink(path.c_str(), file.content.data(), file.content.size());
    file.content.resize(length < 0 ? 0 : static_cast<size_t>(length));
  } else if (contents && S_ISREG(file.info.st_mode)) {
    file.content = e2e::ReadSome(e2e::Open(path, O_RDONLY | O_NOATIME).get(), kLooksAt, 0);
  }
  by_inode_.emplace(file.info.st_ino, file.info);
  const bool directory = S_ISDIR(file.info.st_mode);
  files_.emplace(path, std::move(file));
  if (!directory) return;
  for (const std::string& name : e2e::NamesIn(path)) Walk(path + "/" + name, contents);
}

Snapshot Snapshot::Take(bool contents) {
  Snapshot snapshot;
  snapshot.Walk(".", contents);
  return snapshot;
}

std::map<std::string, std::string> Snapshot::Against(const Snapshot& before, bool atimes) const {
  std::map<std::string, std::string> lines;
  for (const auto& [path, file] : files_) {
    const struct stat& info = file.info;
    const auto old = before.by_inode_.find(info.st_ino);
    const struct stat* was = old == before.by_inode_.end() ? nullptr : &old->second;
    std::ostringstream out;
    out << std::oct << info.st_mode << std::dec << " links " << info.st_nlink << " owner "
        << info.st_uid << ":" << info.st_gid;
    if (S_ISCHR(info.st_mode) || S_ISBLK(info.st_mode)) {
      out << " device " << major(info.st_rdev) << ":" << minor(info.st_rdev);
    }
    if (!S_ISDIR(info.st_mode)) out << " size " << info.st_size;
    if (!file.content.empty()) out << " '" << TextOf(file.content) << "'";
    if (atimes && !S_ISDIR(info.st_mode))
      out << " atime " << Fate(info.st_atim, was != nullptr ? &was->st_atim : nullptr);
    out << " mtime " << Fate(info.st_mtim, was != nullptr ? &was->st_mtim : nullptr) << " ctime "
        << Fate(info.st_ctim, was != nullptr ? &was->st_ctim : nullptr);
    lines.emplace(path, out.str());
  }
  return lines;
}

}  // namespace airstore::posix
