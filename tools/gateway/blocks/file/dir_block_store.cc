// SPDX-License-Identifier: Apache-2.0
#include "tools/gateway/blocks/file/dir_block_store.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include <charconv>
#include <filesystem>
#include <fstream>

#include "shm/base/fault.h"
#include "shm/base/fd.h"
#include "tools/gateway/blocks.h"
#include "tools/gateway/blocks/block_name.h"

namespace airstore::gateway {
namespace {

namespace fs = std::filesystem;

Result<void> SyncDirectory(const std::string& path) {
  const UniqueFd fd(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd || fsync(fd.get()) != 0) return SysError("sync " + path);
  return {};
}

Result<void> MakeDirectory(const std::string& path) {
  if (mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) return SysError("mkdir " + path);
  return {};
}

Result<void> WriteAll(int fd, std::string_view header, std::string_view data) {
  while (!header.empty() || !data.empty()) {
    iovec parts[2] = {{const_cast<char*>(header.data()), header.size()},
                      {const_cast<char*>(data.data()), data.size()}};
    const ssize_t n = writev(fd, parts, 2);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return SysError("write block");
    const size_t from_header = std::min(static_cast<size_t>(n), header.size());
    header.remove_prefix(from_header);
    data.remove_prefix(static_cast<size_t>(n) - from_header);
  }
  return {};
}

// What a crash left half written. Another process may be writing here: nothing that is written
// takes an hour.
void RemoveLeftovers(const std::string& directory) {
  const auto old = fs::file_time_type::clock::now() - std::chrono::hours(1);
  std::error_code error;
  for (fs::directory_iterator it(directory, error), last; !error && it != last;
       it.increment(error)) {
    std::error_code gone;
    const auto written = it->last_write_time(gone);
    if (!gone && written < old) fs::remove(it->path(), gone);
  }
}

}  // namespace

DirBlockStore::DirBlockStore(std::string root)
    : root_(std::move(root)), temp_(root_ + "/tmp/" + ToHex(RandomBlockId().view()) + "-") {}

Result<std::unique_ptr<DirBlockStore>> DirBlockStore::Open(const std::string& root) {
  AIRSTORE_TRY(MakeDirectory(root));
  AIRSTORE_TRY(MakeDirectory(root + "/tmp"));
  RemoveLeftovers(root + "/tmp");
  AIRSTORE_TRY(SyncDirectory(root));
  return std::unique_ptr<DirBlockStore>(new DirBlockStore(root));
}

Result<void> DirBlockStore::Claim(const std::string& identity, bool adopt, bool has_content) {
  const std::string path = root_ + "/store";
  const std::string ours = ToHex(identity);
  std::string theirs;
  if (std::ifstream(path) >> theirs) {
    if (theirs == ours) return {};
    return Error{EEXIST, root_ + " has the blocks of another store"};
  }
  std::error_code error;
  bool empty = true;
  for (const auto& entry : fs::directory_iterator(root_, error)) {
    const auto name = entry.path().filename();
    empty = empty && (name == "tmp" || name == "lost+found");
  }
  if (error) return Error{error.value(), "list " + root_};
  if (!empty && !adopt)
    return Error{EEXIST, root_ + " has blocks, and nothing says of which store"};
  if (empty && has_content) {
    return Error{ENOENT, root_ +
                             " is empty, and files have content: is it mounted? If the blocks " +
                             "are lost, make the file " + path + " with the text " + ours};
  }
  std::ofstream file(path);
  if (!(file << ours << "\n").flush()) return SysError("write " + path);
  return SyncDirectory(root_);
}

std::string DirBlockStore::FanOutOf(const BlockKey& key) const {
  return root_ + "/" + std::to_string(key.workspace) + "/" + ToHex(key.id.view().substr(0, 1));
}

std::string DirBlockStore::PathOf(const BlockKey& key) const {
  return FanOutOf(key) + "/" + ToHex(key.id.view());
}

Result<void> DirBlockStore::EnsureFanOut(const BlockKey& key) {
  const std::string directory = FanOutOf(key);
  std::lock_guard lock(mu_);
  if (known_.contains(directory)) return {};
  const std::string workspace = root_ + "/" + std::to_string(key.workspace);
  AIRSTORE_TRY(MakeDirectory(workspace));
  AIRSTORE_TRY(MakeDirectory(directory));
  AIRSTORE_TRY(SyncDirectory(workspace));
  AIRSTORE_TRY(SyncDirectory(root_));
  known_.insert(directory);
  return {};
}

Result<void> DirBlockStore::Put(const BlockKey& key, std::string_view header,
                                std::string_view data) {
  AIRSTORE_TRY(EnsureFanOut(key));
  const std::string temp = temp_ + std::to_string(next_temp_++);
  UniqueFd fd(open(temp.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!fd) return SysError("create " + temp);
  Result<void> done = WriteAll(fd.get(), header, data);
  if (done && fdatasync(fd.get()) != 0) done = SysError("sync " + temp);
  if (const int error = Reach(FaultPoint::kGatewayBlockWritten)) done = Error{error, temp};
  if (done && rename(temp.c_str(), PathOf(key).c_str()) != 0) done = SysError("rename " + temp);
  if (!done) {
    unlink(temp.c_str());
    return done;
  }
  Reach(FaultPoint::kGatewayBlockNamed);
  return SyncDirectory(FanOutOf(key));
}

Result<std::string> DirBlockStore::Get(const BlockKey& key) {
  const std::string path = PathOf(key);
  const UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return SysError("open " + path);
  struct stat st;
  if (fstat(fd.get(), &st) != 0) return SysError("stat " + path);
  // A file much larger than any block is damage: do not read it.
  if (st.st_size < 0 || static_cast<uint64_t>(st.st_size) > 2 * kBlockBytes) {
    return Error{EBADMSG, path + " has an impossible size"};
  }
  std::string bytes(static_cast<size_t>(st.st_size), '\0');
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t n =
        pread(fd.get(), bytes.data() + done, bytes.size() - done, static_cast<off_t>(done));
    if (n < 0 && errno == EINTR) continue;
    // The disk has lost it: asking again does not help.
    if (n < 0) return SysError("read " + path, errno == EIO ? EBADMSG : errno);
    if (n == 0) return Error{EBADMSG, path + " shrank"};
    done += static_cast<size_t>(n);
  }
  return bytes;
}

Result<std::vector<BlockStore::Kept>> DirBlockStore::Delete(std::span<const BlockKey> keys) {
  std::vector<Kept> kept;
  for (const BlockKey& key : keys) {
    const std::string path = PathOf(key);
    if (unlink(path.c_str()) != 0 && errno != ENOENT) {
      kept.push_back({key, SysError("unlink " + path)});
    }
  }
  return kept;
}

Result<void> DirBlockStore::List(int64_t before_ns,
                                 const std::function<void(const BlockKey&)>& visit) {
  std::error_code error;
  for (const auto& workspace : fs::directory_iterator(root_, error)) {
    BlockKey key;
    const std::string name = workspace.path().filename();
    const auto [end, parse] =
        std::from_chars(name.data(), name.data() + name.size(), key.workspace);
    if (parse != std::errc() || end != name.data() + name.size()) continue;  // tmp
    for (fs::recursive_directory_iterator it(workspace.path(), error), last; it != last;
         it.increment(error)) {
      struct stat st;
      const auto id = BlockIdFromHex(it->path().filename().string());
      if (error || !id) continue;
      key.id = *id;
      if (stat(it->path().c_str(), &st) != 0 || !S_ISREG(st.st_mode)) continue;
      const int64_t stored_ns = st.st_mtim.tv_sec * 1'000'000'000 + st.st_mtim.tv_nsec;
      if (stored_ns < before_ns) visit(key);
    }
  }
  if (error) return Error{error.value(), "list " + root_};
  return {};
}

}  // namespace airstore::gateway
