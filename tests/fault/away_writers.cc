// SPDX-License-Identifier: Apache-2.0
#include "tests/fault/away_writers.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <random>
#include <utility>

#include "tests/e2e/support/files.h"

namespace airstore::fault {
namespace {

constexpr size_t kPiece = 256u << 10;

// Cheap to make, and different at each place of each file.
std::string Piece(uint64_t file, uint64_t piece) {
  std::string bytes(kPiece, '\0');
  uint64_t state = (file << 32 | piece) * 0x9e3779b97f4a7c15 + 1;
  for (size_t at = 0; at < bytes.size(); at += sizeof(state)) {
    state = state * 6364136223846793005 + 1442695040888963407;
    memcpy(bytes.data() + at, &state, sizeof(state));
  }
  return bytes;
}

std::string CompareFile(const std::string& path, uint64_t file, uint64_t bytes) {
  const UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return bytes == 0 ? "" : path + ": " + strerror(errno);
  std::string found(kPiece, '\0');
  for (uint64_t at = 0; at < bytes; at += kPiece) {
    const std::string expected = Piece(file, at / kPiece);
    const size_t wanted = std::min<uint64_t>(kPiece, bytes - at);
    size_t got = 0;
    while (got < wanted) {
      const ssize_t more =
          pread(fd.get(), found.data() + got, wanted - got, static_cast<off_t>(at + got));
      if (more <= 0) break;
      got += static_cast<size_t>(more);
    }
    if (got != wanted || memcmp(found.data(), expected.data(), wanted) != 0) {
      return path + ": differs behind " + std::to_string(at) + " of " + std::to_string(bytes);
    }
  }
  return "";
}

class Stream final : public Writer {
 public:
  Stream(const std::string& directory, const std::string& name, uint64_t file_bytes)
      : Writer(directory, name), file_bytes_(file_bytes) {}

  std::string Compare(const std::string& directory) const override {
    for (size_t i = 0; i < files_.size(); ++i) {
      const std::string wrong = CompareFile(directory + "/" + FileName(i), i, files_[i]);
      if (!wrong.empty()) return wrong;
    }
    return "";
  }

 private:
  void Close() override { fd_.reset(); }
  std::string FileName(size_t file) const { return name() + "-" + std::to_string(file); }
  void Step() override {
    if (!fd_) {
      const std::string path = Path(FileName(files_.size()));
      fd_ = UniqueFd(open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
      if (!fd_) return Failed("create", errno);
      files_.push_back(0);
    }
    uint64_t& done = files_.back();
    const std::string piece = Piece(files_.size() - 1, done / kPiece);
    const size_t from = done % kPiece;
    const size_t length = std::min<uint64_t>(kPiece - from, file_bytes_ - done);
    const ssize_t written =
        pwrite(fd_.get(), piece.data() + from, length, static_cast<off_t>(done));
    if (written > 0) {
      done += static_cast<uint64_t>(written);
      Accept(static_cast<uint64_t>(written));
    } else {
      Failed("write", errno);
    }
    if (done == file_bytes_) fd_.reset();
  }

  const uint64_t file_bytes_;
  UniqueFd fd_;
  std::vector<uint64_t> files_;  // bytes accepted of each
};

class Mapper final : public Writer {
 public:
  using Writer::Writer;
  std::string Compare(const std::string& directory) const override {
    if (stores_ == 0) return "";
    const std::string path = directory + "/" + name();
    const std::string found = e2e::ReadFile(path);
    if (found == model_) return "";
    if (found.size() != model_.size()) return path + ": has " + std::to_string(found.size());
    constexpr size_t kPage = 4096;
    size_t pages = 0;
    size_t first = 0;
    for (size_t at = 0; at < kBytes; at += kPage) {
      if (found.compare(at, kPage, model_, at, kPage) == 0) continue;
      if (pages++ == 0) first = at;
    }
    return path + ": " + std::to_string(pages) +
           " pages are not as they were stored to, the first at " + std::to_string(first) +
           ", after " + std::to_string(stores_) + " stores";
  }

 private:
  static constexpr size_t kBytes = 8u << 20;
  // What could not be written back is told here, and nowhere else.
  void Close() override {
    if (map_ == nullptr) return;
    const UniqueFd fd(open(Path(name()).c_str(), O_RDONLY | O_CLOEXEC));
    constexpr unsigned kAll =
        SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER;
    if (!fd || sync_file_range(fd.get(), 0, kBytes, kAll) != 0)
      Lost("write back stores to the map", errno);
    munmap(std::exchange(map_, nullptr), kBytes);
  }
  void Step() override {
    if (map_ == nullptr && !Make()) return;
    const size_t at = random_() % (kBytes - 4096);
    const uint64_t value = random_();
    memcpy(map_ + at, &value, sizeof(value));
    memcpy(model_.data() + at, &value, sizeof(value));
    ++stores_;
    Accept(sizeof(value));
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  // With all of its blocks, so that a store needs none.
  bool Make() {
    const UniqueFd fd(open(Path(name()).c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
    model_.assign(kBytes, 'm');
    const ssize_t written = fd ? pwrite(fd.get(), model_.data(), kBytes, 0) : -1;
    if (written != static_cast<ssize_t>(kBytes)) {
      Failed("make a file to map", written < 0 ? errno : ENOSPC);
      return false;
    }
    void* map = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
    if (map == MAP_FAILED) {
      Failed("mmap", errno);
      return false;
    }
    map_ = static_cast<char*>(map);
    return true;
  }

  char* map_ = nullptr;
  std::string model_;
  uint64_t stores_ = 0;
  std::mt19937_64 random_{7};
};

}  // namespace

Writer::Writer(std::string directory, std::string name)
    : directory_(std::move(directory)), name_(std::move(name)) {}

void Writer::Start() {
  stop_.store(false);
  thread_ = std::thread([this] {
    while (!stop_.load() && surprise_.empty()) Step();
  });
}

void Writer::Stop() {
  stop_.store(true);
  if (thread_.joinable()) thread_.join();
  Close();
}

// EPERM: a file that the kernel writes into by itself was sealed before the spool ran over.
void Writer::Failed(const std::string& what, int error) {
  if (error != ENOSPC && error != EPERM) return Lost(what, error);
  ++refused_;
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
}

void Writer::Lost(const std::string& what, int error) {
  surprise_ = name_ + ": " + what + ": " + strerror(error);
}

std::unique_ptr<Writer> MakeStream(const std::string& directory, const std::string& name,
                                   uint64_t file_bytes) {
  return std::make_unique<Stream>(directory, name, file_bytes);
}

std::unique_ptr<Writer> MakeAppender(const std::string& directory, const std::string& name) {
  return std::make_unique<Stream>(directory, name, uint64_t{1} << 40);
}

std::unique_ptr<Writer> MakeMapper(const std::string& directory, const std::string& name) {
  return std::make_unique<Mapper>(directory, name);
}

}  // namespace airstore::fault
