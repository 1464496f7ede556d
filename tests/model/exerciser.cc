// SPDX-License-Identifier: Apache-2.0
#include "tests/model/exerciser.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <stdexcept>

#include "tests/e2e/support/files.h"

namespace airstore::model {
namespace {

constexpr size_t kHistoryLines = 40;
constexpr size_t kPage = 4096;

// As O_DIRECT wants it.
class PageBuffer {
 public:
  explicit PageBuffer(size_t length)
      : bytes_(static_cast<char*>(aligned_alloc(kPage, (length / kPage + 1) * kPage)), free) {}
  char* get() { return bytes_.get(); }

 private:
  std::unique_ptr<char, void (*)(void*)> bytes_;
};

}  // namespace

Exerciser::Exerciser(ExerciserOptions options)
    : options_(std::move(options)),
      random_(options_.seed),
      operations_{{"read", &Exerciser::Read},        {"write", &Exerciser::Write},
                  {"append", &Exerciser::Append},    {"truncate", &Exerciser::Truncate},
                  {"punch", &Exerciser::Punch},      {"zero", &Exerciser::Zero},
                  {"extend", &Exerciser::Extend},    {"copy", &Exerciser::Copy},
                  {"reopen", &Exerciser::Reopen},    {"sync", &Exerciser::Sync},
                  {"drop", &Exerciser::Drop},        {"seek", &Exerciser::Seek},
                  {"map read", &Exerciser::MapRead}, {"map write", &Exerciser::MapWrite}} {
  e2e::Open(options_.paths.front(), O_WRONLY | O_CREAT | O_EXCL);
}

void Exerciser::Note(const std::string& line) {
  history_.push_back(std::to_string(steps_) + " " + line);
  if (history_.size() > kHistoryLines) history_.pop_front();
}

void Exerciser::Require(bool holds, const std::string& what) {
  if (holds) return;
  std::string text = what + "; seed " + std::to_string(options_.seed) + ", done before:\n";
  for (const std::string& line : history_) text += "  " + line + "\n";
  throw std::runtime_error(text);
}

void Exerciser::Step() {
  OpenAll();
  ++steps_;
  // Reads and writes are half of it.
  const size_t choice = Below(2 * operations_.size());
  Operation& operation = operations_[choice < operations_.size() ? choice : choice % 2];
  if (operation.refused) return;
  (this->*operation.run)();
  ++operation.done;
  RequireSize(AnyFd());
}

std::string Exerciser::Summary() const {
  std::string text;
  for (const Operation& operation : operations_) {
    text += std::string(text.empty() ? "" : ", ") + operation.name + " " +
            (operation.refused ? "refused" : std::to_string(operation.done));
  }
  return text;
}

void Exerciser::OpenAll() {
  fds_.resize(2 * options_.paths.size());
  for (size_t i = 0; i < fds_.size(); ++i) {
    if (fds_[i]) continue;
    fds_[i] = e2e::Open(options_.paths[i % options_.paths.size()],
                        O_RDWR | (options_.direct ? O_DIRECT : 0));
  }
}

void Exerciser::CloseAll() { fds_.clear(); }

int Exerciser::SizedFd() {
  const int fd = AnyFd();
  if (options_.asks_for_size) RequireSize(fd);
  return fd;
}

int Exerciser::AnyFd() { return fds_[Below(fds_.size())].get(); }

Exerciser::Range Exerciser::AnyRange(size_t limit) {
  const size_t most = Below(8) == 0 ? limit : std::min<size_t>(limit, 20'000);
  size_t length = (1 + Below(most)) / Unit() * Unit();
  if (length == 0) length = Unit();
  const size_t offset = Below(limit) / Unit() * Unit();
  if (offset + length > limit) length = std::max(Unit(), (limit - offset) / Unit() * Unit());
  return {static_cast<off_t>(offset), length};
}

Exerciser::Range Exerciser::RangeWithin() {
  if (content_.empty()) return {0, 0};
  const size_t offset = Below(content_.size());
  return {static_cast<off_t>(offset),
          1 + Below(std::min<size_t>(content_.size() - offset, 50'000))};
}

// Different each time, so that old bytes are seen where new ones belong.
std::string Exerciser::Bytes(size_t length) { return e2e::RandomBytes(random_(), length); }

void Exerciser::Grow(size_t size) {
  if (size > content_.size()) content_.resize(size);
}

void Exerciser::RequireSize(int fd) {
  struct stat info {};
  Require(fstat(fd, &info) == 0, std::string("fstat: ") + strerror(errno));
  Require(static_cast<size_t>(info.st_size) == content_.size(),
          "the size is " + std::to_string(info.st_size) + " and should be " +
              std::to_string(content_.size()));
}

void Exerciser::Check(const Range& range, const char* found, size_t got) {
  const auto offset = static_cast<size_t>(range.offset);
  const size_t there = offset < content_.size() ? content_.size() - offset : 0;
  const size_t expected = std::min(there, range.length);
  Require(got == expected, "read of " + std::to_string(range.length) + " at " +
                               std::to_string(offset) + " gave " + std::to_string(got) +
                               " bytes and should give " + std::to_string(expected));
  for (size_t i = 0; i < got; ++i) {
    if (found[i] == content_[offset + i]) continue;
    size_t last = got - 1;
    while (found[last] == content_[offset + last]) --last;
    Require(false, "different from byte " + std::to_string(offset + i) + " to " +
                       std::to_string(offset + last) + ", found " +
                       std::to_string(static_cast<unsigned char>(found[i])) + ", expected " +
                       std::to_string(static_cast<unsigned char>(content_[offset + i])));
  }
}

void Exerciser::Read() {
  const Range range = AnyRange(options_.most_bytes);
  Note("read " + std::to_string(range.offset) + " " + std::to_string(range.length));
  PageBuffer buffer(range.length);
  const ssize_t got = pread(AnyFd(), buffer.get(), range.length, range.offset);
  Require(got >= 0, std::string("read: ") + strerror(errno));
  Check(range, buffer.get(), static_cast<size_t>(got));
}

void Exerciser::Write() {
  const Range range = AnyRange(options_.most_bytes);
  Note("write " + std::to_string(range.offset) + " " + std::to_string(range.length));
  const std::string bytes = Bytes(range.length);
  PageBuffer buffer(range.length);
  memcpy(buffer.get(), bytes.data(), bytes.size());
  const ssize_t done = pwrite(AnyFd(), buffer.get(), range.length, range.offset);
  Require(done == static_cast<ssize_t>(range.length),
          "write gave " + std::to_string(done) + ": " + strerror(errno));
  Grow(static_cast<size_t>(range.offset) + range.length);
  content_.replace(static_cast<size_t>(range.offset), range.length, bytes);
}

void Exerciser::Append() {
  const std::string bytes = Bytes((1 + Below(5)) * (options_.direct ? kPage : 700));
  if (content_.size() + bytes.size() > options_.most_bytes) return;
  // Appending by O_DIRECT starts where the file ends, which must be a whole page.
  if (content_.size() % Unit() != 0) return;
  Note("append " + std::to_string(bytes.size()));
  const UniqueFd fd = e2e::Open(options_.paths[Below(options_.paths.size())],
                                O_WRONLY | O_APPEND | (options_.direct ? O_DIRECT : 0));
  PageBuffer buffer(bytes.size());
  memcpy(buffer.get(), bytes.data(), bytes.size());
  const ssize_t done = write(fd.get(), buffer.get(), bytes.size());
  Require(done == static_cast<ssize_t>(bytes.size()),
          "append gave " + std::to_string(done) + ": " + strerror(errno));
  content_ += bytes;
}

void Exerciser::MapRead() {
  const Range range = RangeWithin();
  if (range.length == 0 || options_.direct) return;
  Note("map read " + std::to_string(range.offset) + " " + std::to_string(range.length));
  const off_t start = range.offset / static_cast<off_t>(kPage) * static_cast<off_t>(kPage);
  const auto lead = static_cast<size_t>(range.offset - start);
  void* at = mmap(nullptr, lead + range.length, PROT_READ, MAP_SHARED, SizedFd(), start);
  Require(at != MAP_FAILED, std::string("mmap: ") + strerror(errno));
  const std::string found(static_cast<const char*>(at) + lead, range.length);
  munmap(at, lead + range.length);
  Check(range, found.data(), found.size());
}

void Exerciser::MapWrite() {
  const Range range = RangeWithin();
  if (range.length == 0 || options_.direct) return;
  Note("map write " + std::to_string(range.offset) + " " + std::to_string(range.length));
  const off_t start = range.offset / static_cast<off_t>(kPage) * static_cast<off_t>(kPage);
  const auto lead = static_cast<size_t>(range.offset - start);
  void* at =
      mmap(nullptr, lead + range.length, PROT_READ | PROT_WRITE, MAP_SHARED, SizedFd(), start);
  Require(at != MAP_FAILED, std::string("mmap: ") + strerror(errno));
  const std::string bytes = Bytes(range.length);
  memcpy(static_cast<char*>(at) + lead, bytes.data(), bytes.size());
  // What other mounts see before is up to how the file is opened.
  const int synced = msync(at, lead + range.length, MS_SYNC);
  const std::string error = strerror(errno);
  munmap(at, lead + range.length);
  Require(synced == 0, "msync: " + error);
  content_.replace(static_cast<size_t>(range.offset), range.length, bytes);
}

void Exerciser::Truncate() {
  const size_t size = Below(3) == 0 ? Below(options_.most_bytes) : Below(content_.size() + 10'000);
  if (size > options_.most_bytes) return;
  Note("truncate " + std::to_string(size));
  const auto length = static_cast<off_t>(size);
  const int done = Below(2) == 0
                       ? ftruncate(AnyFd(), length)
                       : truncate(options_.paths[Below(options_.paths.size())].c_str(), length);
  Require(done == 0, std::string("truncate: ") + strerror(errno));
  content_.resize(size);
}

bool Exerciser::Allocate(int mode, const Range& range, const char* name) {
  Note(std::string(name) + " " + std::to_string(range.offset) + " " + std::to_string(range.length));
  if (fallocate(AnyFd(), mode, range.offset, static_cast<off_t>(range.length)) == 0) return true;
  Require(errno == EOPNOTSUPP, std::string(name) + ": " + strerror(errno));
  for (Operation& operation : operations_) {
    if (operation.name == std::string(name)) operation.refused = true;
  }
  return false;
}

void Exerciser::Punch() {
  const Range range = AnyRange(options_.most_bytes);
  if (!Allocate(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, range, "punch")) return;
  const auto offset = static_cast<size_t>(range.offset);
  if (offset >= content_.size()) return;
  const size_t length = std::min(range.length, content_.size() - offset);
  content_.replace(offset, length, length, '\0');
}

void Exerciser::Zero() {
  const Range range = AnyRange(options_.most_bytes);
  const bool keep = Below(2) == 0;
  if (!Allocate(FALLOC_FL_ZERO_RANGE | (keep ? FALLOC_FL_KEEP_SIZE : 0), range, "zero")) return;
  const auto offset = static_cast<size_t>(range.offset);
  if (!keep) Grow(offset + range.length);
  if (offset >= content_.size()) return;
  const size_t length = std::min(range.length, content_.size() - offset);
  content_.replace(offset, length, length, '\0');
}

void Exerciser::Extend() {
  const Range range = AnyRange(options_.most_bytes);
  const bool keep = Below(2) == 0;
  if (!Allocate(keep ? FALLOC_FL_KEEP_SIZE : 0, range, "extend")) return;
  if (!keep) Grow(static_cast<size_t>(range.offset) + range.length);
}

void Exerciser::Copy() {
  const Range from = RangeWithin();
  if (from.length == 0 || options_.direct) return;
  const size_t to = Below(options_.most_bytes - from.length);
  const auto source = static_cast<size_t>(from.offset);
  if (to < source + from.length && source < to + from.length) return;
  Note("copy " + std::to_string(source) + " " + std::to_string(from.length) + " to " +
       std::to_string(to));
  const std::string bytes = content_.substr(source, from.length);
  // Both by one mount: between file systems the kernel does not copy.
  const size_t mount = Below(options_.paths.size());
  if (options_.asks_for_size) RequireSize(fds_[mount].get());
  off64_t in = from.offset;
  auto out = static_cast<off64_t>(to);
  for (size_t left = from.length; left > 0;) {
    const ssize_t done = copy_file_range(fds_[mount].get(), &in,
                                         fds_[mount + options_.paths.size()].get(), &out, left, 0);
    Require(done > 0, "copy gave " + std::to_string(done) + ": " + strerror(errno));
    left -= static_cast<size_t>(done);
  }
  Grow(to + bytes.size());
  content_.replace(to, bytes.size(), bytes);
}

void Exerciser::Reopen() {
  const size_t which = Below(fds_.size());
  Note("reopen " + std::to_string(which));
  // Sometimes nobody has it open for a moment.
  if (Below(4) == 0) CloseAll();
  if (!fds_.empty()) fds_[which].reset();
  OpenAll();
}

void Exerciser::Sync() {
  Note("sync");
  const int done = Below(2) == 0 ? fsync(AnyFd()) : fdatasync(AnyFd());
  Require(done == 0, std::string("fsync: ") + strerror(errno));
}

void Exerciser::Drop() {
  Note("drop");
  const int failed = posix_fadvise(AnyFd(), 0, 0, POSIX_FADV_DONTNEED);
  Require(failed == 0, std::string("fadvise: ") + strerror(failed));
}

// A hole may be told as data, but no data as a hole.
void Exerciser::Seek() {
  const auto offset = static_cast<off_t>(Below(options_.most_bytes));
  Note("seek " + std::to_string(offset));
  const auto size = static_cast<off_t>(content_.size());
  const int fd = SizedFd();
  const off_t data = lseek(fd, offset, SEEK_DATA);
  if (data < 0) {
    Require(errno == ENXIO, std::string("SEEK_DATA: ") + strerror(errno));
  } else {
    Require(data >= offset && data < size, "data at " + std::to_string(data));
  }
  const auto end = static_cast<size_t>(data < 0 ? std::max(size, offset) : data);
  for (auto at = static_cast<size_t>(offset); at < std::min(end, content_.size()); ++at) {
    Require(content_[at] == '\0', "byte " + std::to_string(at) + " is said to be in a hole");
  }
  const off_t hole = lseek(fd, offset, SEEK_HOLE);
  if (offset >= size) {
    Require(hole < 0 && errno == ENXIO, "SEEK_HOLE gave " + std::to_string(hole));
  } else {
    Require(hole >= offset && hole <= size, "SEEK_HOLE gave " + std::to_string(hole));
  }
}

void Exerciser::CompareAll() {
  for (const std::string& path : options_.paths) {
    const std::string found = e2e::ReadFile(path);
    Check({0, std::max(found.size(), content_.size())}, found.data(), found.size());
  }
}

}  // namespace airstore::model
