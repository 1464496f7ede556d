// SPDX-License-Identifier: Apache-2.0
#include "tests/fault/tree_load.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "tests/e2e/support/files.h"

namespace airstore::fault {
namespace {

using e2e::RandomBytes;

constexpr size_t kMostOpen = 6;
constexpr size_t kMostNames = 150;

bool WriteAll(int fd, const std::string& data, size_t offset) {
  size_t done = 0;
  while (done < data.size()) {
    const ssize_t written =
        pwrite(fd, data.data() + done, data.size() - done, static_cast<off_t>(offset + done));
    if (written < 0) return false;
    if (written == 0) errno = ENOSPC;
    if (written == 0) return false;
    done += static_cast<size_t>(written);
  }
  return true;
}

void Put(std::string* content, size_t offset, const std::string& data) {
  if (content->size() < offset + data.size()) content->resize(offset + data.size(), '\0');
  content->replace(offset, data.size(), data);
}

}  // namespace

TreeLoad::TreeLoad(const std::string& mount, uint64_t seed, bool maps)
    : root_(mount + "/" + kDirectory), random_(seed), maps_(maps) {
  if (mkdir(root_.c_str(), 0755) != 0) throw std::runtime_error("mkdir " + root_);
}

TreeLoad::~TreeLoad() {
  ending_ = true;
  Join();
}

void TreeLoad::Start() {
  thread_ = std::thread([this] { Run(); });
}

void TreeLoad::Join() {
  stopping_ = true;
  if (thread_.joinable()) thread_.join();
  open_.clear();
}

void TreeLoad::Run() {
  while (!stopping_ && Step()) {
  }
}

bool TreeLoad::Done(bool ok) {
  if (ok && !ending_) {
    touching_paths_.clear();
    touching_nodes_.clear();
    ++acknowledged_;
    return true;
  }
  if (!ok) {
    const int error = errno;
    errors_.push_back({error, std::string("a change failed: ") + strerror(error)});
  }
  // What it did may be there or not.
  uncertain_paths_.insert(touching_paths_.begin(), touching_paths_.end());
  uncertain_nodes_.insert(touching_nodes_.begin(), touching_nodes_.end());
  return false;
}

std::string TreeLoad::NewPath() {
  const std::string path =
      directories_[Random(directories_.size())] + "n" + std::to_string(next_name_++);
  touching_paths_.insert(path);
  return path;
}

std::string TreeLoad::AnyFile() {
  std::vector<std::string> files;
  for (const auto& [path, node] : names_) {
    if (node->type == 'f') files.push_back(path);
  }
  return files.empty() ? "" : files[Random(files.size())];
}

bool TreeLoad::Step() {
  const size_t kind = Random(100);
  if (kind < 4 && directories_.size() < 12) return MakeDirectory();
  if (kind < 8) return Symlink();
  if (kind < 25 && !open_.empty()) return WriteOpenFile();
  const std::string path = AnyFile();
  if (path.empty() || (kind < 50 && names_.size() < kMostNames)) {
    const size_t sizes[] = {Random(200), Random(20'000), Random(20'000), 200'000 + Random(900'000)};
    return Create(sizes[Random(4)], Random(4) == 0);
  }
  const NodePtr node = names_[path];
  touching_nodes_ = {node};
  if (kind < 56) return Append(path, node);
  if (kind < 62) return Truncate(path, node);
  if (kind < 68) return Rewrite(path, node);
  if (kind < 72 && maps_) return WriteThroughMap(path, node);
  if (kind < 82) return Rename(path);
  if (kind < 86) return Link(path, node);
  if (kind < 90) return Chmod(path, node);
  return Unlink(path);
}

bool TreeLoad::Create(size_t length, bool keep_open) {
  const std::string path = NewPath();
  auto node = std::make_shared<Node>();
  node->mode = 0644;
  touching_nodes_ = {node};
  names_[path] = node;
  UniqueFd fd(open(At(path).c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
  if (!Done(static_cast<bool>(fd))) return false;
  touching_nodes_ = {node};
  const std::string data = RandomBytes(random_(), length);
  const bool written = WriteAll(fd.get(), data, 0);
  if (written) node->content = data;
  if (!Done(written)) return false;
  if (keep_open && open_.size() < kMostOpen) {
    open_.push_back({node, std::move(fd)});
    return true;
  }
  return Done(close(fd.release()) == 0);
}

bool TreeLoad::Overwrite(int fd, const NodePtr& node) {
  const size_t offset = Random(node->content.size() + 5000);
  const std::string data = RandomBytes(random_(), 1 + Random(30'000));
  const bool written = WriteAll(fd, data, offset);
  if (written) Put(&node->content, offset, data);
  return Done(written);
}

bool TreeLoad::WriteOpenFile() {
  const size_t at = Random(open_.size());
  const NodePtr node = open_[at].node;
  touching_nodes_ = {node};
  if (Random(8) != 0) return Overwrite(open_[at].fd.get(), node);
  const int fd = open_[at].fd.release();
  open_.erase(open_.begin() + static_cast<ptrdiff_t>(at));
  return Done(close(fd) == 0);
}

bool TreeLoad::WriteThroughMap(const std::string& path, const NodePtr& node) {
  if (node->content.empty()) return true;
  const UniqueFd fd(open(At(path).c_str(), O_RDWR | O_CLOEXEC));
  if (!fd) return Done(false);
  const size_t size = node->content.size();
  void* map = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  if (map == MAP_FAILED) return Done(false);
  const size_t offset = Random(size);
  const std::string data = RandomBytes(random_(), std::min<size_t>(size - offset, 3000));
  // A plain store would be a signal when the mount is gone.
  const UniqueFd memory(open("/proc/self/mem", O_RDWR | O_CLOEXEC));
  const auto address = reinterpret_cast<uintptr_t>(map) + offset;
  const bool written = WriteAll(memory.get(), data, address);
  munmap(map, size);
  if (written) Put(&node->content, offset, data);
  return Done(written);
}

bool TreeLoad::Truncate(const std::string& path, const NodePtr& node) {
  const size_t size = Random(3) == 0 ? 0 : Random(node->content.size() + 10'000);
  const bool ok = truncate(At(path).c_str(), static_cast<off_t>(size)) == 0;
  if (ok) node->content.resize(size, '\0');
  return Done(ok);
}

bool TreeLoad::Append(const std::string& path, const NodePtr& node) {
  const UniqueFd fd(open(At(path).c_str(), O_WRONLY | O_APPEND | O_CLOEXEC));
  if (!fd) return Done(false);
  const std::string data = RandomBytes(random_(), 1 + Random(9000));
  const ssize_t written = write(fd.get(), data.data(), data.size());
  const bool ok = written == static_cast<ssize_t>(data.size());
  if (ok) node->content += data;
  if (!ok && written >= 0) errno = EIO;  // the end came in the middle, and without an error
  return Done(ok);
}

bool TreeLoad::Rewrite(const std::string& path, const NodePtr& node) {
  const UniqueFd fd(open(At(path).c_str(), O_WRONLY | O_TRUNC | O_CLOEXEC));
  if (fd) node->content.clear();
  if (!Done(static_cast<bool>(fd))) return false;
  touching_nodes_ = {node};
  return Overwrite(fd.get(), node);
}

bool TreeLoad::Rename(const std::string& path) {
  std::string to = Random(2) == 0 ? AnyFile() : "";
  if (to.empty() || to == path || names_[to] == names_[path]) to = NewPath();
  touching_paths_.insert({path, to});
  if (names_.contains(to)) touching_nodes_.insert(names_[to]);
  const bool ok = rename(At(path).c_str(), At(to).c_str()) == 0;
  if (ok) {
    names_[to] = names_[path];
    names_.erase(path);
  }
  return Done(ok);
}

bool TreeLoad::Unlink(const std::string& path) {
  touching_paths_.insert(path);
  const bool ok = unlink(At(path).c_str()) == 0;
  if (ok) names_.erase(path);
  return Done(ok);
}

bool TreeLoad::Link(const std::string& path, const NodePtr& node) {
  const std::string to = NewPath();
  const bool ok = link(At(path).c_str(), At(to).c_str()) == 0;
  if (ok) names_[to] = node;
  return Done(ok);
}

bool TreeLoad::Symlink() {
  const std::string path = NewPath();
  auto node = std::make_shared<Node>();
  node->type = 'l';
  node->content = "target-" + std::to_string(random_() % 100000);
  const bool ok = symlink(node->content.c_str(), At(path).c_str()) == 0;
  if (ok) names_[path] = node;
  return Done(ok);
}

bool TreeLoad::MakeDirectory() {
  const std::string path = NewPath();
  auto node = std::make_shared<Node>();
  node->type = 'd';
  node->mode = 0755;
  const bool ok = mkdir(At(path).c_str(), 0755) == 0;
  if (ok) {
    names_[path] = node;
    directories_.push_back(path + "/");
  }
  return Done(ok);
}

bool TreeLoad::Chmod(const std::string& path, const NodePtr& node) {
  const auto mode = static_cast<mode_t>(0600 + Random(64));
  const bool ok = chmod(At(path).c_str(), mode) == 0;
  if (ok) node->mode = mode;
  return Done(ok);
}

std::string TreeLoad::Check(const std::string& mount, Kept kept) const {
  return kept == Kept::kSynced ? "" : Compare(mount + "/" + kDirectory);
}

std::string TreeLoad::Compare(const std::string& root) const {
  std::string wrong;
  int told = 0;
  const auto complain = [&](const std::string& path, const std::string& what) {
    if (++told <= 10) wrong += path + ": " + what + "\n";
  };
  std::map<const Node*, size_t> links;
  for (const auto& [path, node] : names_) ++links[node.get()];
  for (const auto& [path, node] : names_) {
    if (uncertain_paths_.contains(path)) continue;
    struct stat info {};
    if (lstat((root + "/" + path).c_str(), &info) != 0) {
      complain(path, strerror(errno));
      continue;
    }
    const char type = S_ISDIR(info.st_mode) ? 'd' : S_ISLNK(info.st_mode) ? 'l' : 'f';
    if (type != node->type) complain(path, "is another kind of file");
    if (type != node->type || uncertain_nodes_.contains(node)) continue;
    if (type != 'l' && (info.st_mode & 07777) != node->mode) complain(path, "has another mode");
    if (type == 'f' && info.st_nlink != links.at(node.get())) complain(path, "has other links");
    if (type == 'l') {
      char target[256];
      const ssize_t got = readlink((root + "/" + path).c_str(), target, sizeof(target));
      if (got < 0 || std::string(target, static_cast<size_t>(got)) != node->content) {
        complain(path, "has another target");
      }
    } else if (type == 'f') {
      const std::string found = e2e::ReadFile(root + "/" + path);
      const auto at =
          std::mismatch(found.begin(), found.end(), node->content.begin(), node->content.end());
      if (at.first != found.end() || at.second != node->content.end()) {
        complain(path, std::to_string(found.size()) + " bytes, not " +
                           std::to_string(node->content.size()) + ", different from " +
                           std::to_string(at.first - found.begin()));
      }
    }
  }
  for (const std::string& directory : directories_) {
    if (!directory.empty() &&
        uncertain_paths_.contains(directory.substr(0, directory.size() - 1))) {
      continue;
    }
    for (const std::string& name : e2e::NamesIn(root + "/" + directory)) {
      const std::string path = directory + name;
      if (!names_.contains(path) && !uncertain_paths_.contains(path)) {
        complain(path, "should not be there");
      }
    }
  }
  return wrong;
}

}  // namespace airstore::fault
