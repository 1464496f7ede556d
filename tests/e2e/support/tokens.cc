// SPDX-License-Identifier: Apache-2.0
#include "tests/e2e/support/tokens.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <memory>
#include <set>

#include "shm/base/fd.h"
#include "tests/e2e/support/mounts.h"

namespace airstore::e2e {
namespace {

constexpr std::string_view kPrefix = "ast_";
constexpr size_t kSecret = 43;
constexpr size_t kPiece = 1u << 20;

struct CloseDirectory {
  void operator()(DIR* directory) const { closedir(directory); }
};

bool IsOfToken(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_';
}

bool IsForTokens(const std::string& name) {
  return name.ends_with(".token") || name == "token" || name == "admin-token" ||
         name.starts_with("session.json") || name == "disk" ||
         name == "disk-after";  // file systems that have such files
}
bool IsProgram(const std::string& name) { return name.starts_with("program-"); }

bool IsForTokensOrContent(const std::string& directory) {
  return directory == "tokens" || directory == "content" || directory == "blocks";
}

bool FileHasToken(int directory, const char* name) {
  const UniqueFd file(openat(directory, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  struct stat info {};
  if (!file || fstat(file.get(), &info) != 0 || !S_ISREG(info.st_mode)) return false;
  const auto piece = std::make_unique<char[]>(kPiece);
  for (off_t at = 0; at < info.st_size;) {
    const off_t data = lseek(file.get(), at, SEEK_DATA);
    if (data < 0) break;
    at = std::max(at, data);
    const ssize_t got = pread(file.get(), piece.get(), kPiece, at);
    if (got <= 0) break;
    if (HasToken({piece.get(), static_cast<size_t>(got)})) return true;
    // One may lie across the end of the piece.
    const auto overlap = static_cast<off_t>(kPrefix.size() + kSecret + 2);
    at += got == static_cast<ssize_t>(kPiece) ? got - overlap : got;
  }
  return false;
}

void Search(int parent, const char* name, const std::string& path,
            const std::set<std::string>& mounted, std::vector<std::string>* found) {
  UniqueFd fd(openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
  if (!fd) return;
  const std::unique_ptr<DIR, CloseDirectory> entries(fdopendir(fd.get()));
  if (!entries) return;
  (void)fd.release();
  while (const dirent* entry = readdir(entries.get())) {
    const std::string each = entry->d_name;
    if (each == "." || each == ".." || mounted.contains(path + "/" + each)) continue;
    if (entry->d_type == DT_DIR && !IsForTokensOrContent(each)) {
      Search(dirfd(entries.get()), entry->d_name, path + "/" + each, mounted, found);
    } else if (entry->d_type == DT_REG && !IsForTokens(each) && !IsProgram(each) &&
               FileHasToken(dirfd(entries.get()), entry->d_name)) {
      found->push_back(path + "/" + each);
    }
  }
}

}  // namespace

bool HasToken(std::string_view text) {
  for (size_t at = text.find(kPrefix); at != text.npos; at = text.find(kPrefix, at + 1)) {
    if (at > 0 && IsOfToken(text[at - 1])) continue;  // the end of a longer word
    const size_t end = std::min(at + kPrefix.size() + kSecret, text.size());
    const std::string_view word = text.substr(at, end - at);
    if (word.size() == kPrefix.size() + kSecret &&
        std::all_of(word.begin(), word.end(), IsOfToken) &&
        (end == text.size() || !IsOfToken(text[end]))) {
      return true;
    }
  }
  return false;
}

std::vector<std::string> FilesWithTokens(const std::string& directory) {
  const std::vector<std::string> mounts = MountsBelow(directory);
  std::vector<std::string> found;
  Search(AT_FDCWD, directory.c_str(), directory, {mounts.begin(), mounts.end()}, &found);
  return found;
}

}  // namespace airstore::e2e
