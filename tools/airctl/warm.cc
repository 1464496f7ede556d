// SPDX-License-Identifier: Apache-2.0
#include "tools/airctl/warm.h"

#include <airstore/control/v1/report.pb.h>
#include <fcntl.h>
#include <fts.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "shm/base/fd.h"
#include "tools/airctl/format.h"
#include "tools/airctl/json_output.h"
#include "tools/airctl/mount_checks.h"
#include "tools/airctl/progress.h"

namespace airstore::airctl {
namespace {

namespace wire = control::v1;

// So many files are asked for at once: most of the time is spent waiting for the gateway.
constexpr size_t kReaders = 16;
constexpr size_t kPiece = 1u << 20;
constexpr auto kTick = std::chrono::milliseconds(100);

struct File {
  std::string path;
  uint64_t bytes = 0;
};

class Warming {
 public:
  // The regular files below, on the same file system.
  void Find(const std::string& root, Progress& progress) {
    char* roots[] = {const_cast<char*>(root.c_str()), nullptr};
    const std::unique_ptr<FTS, decltype(&fts_close)> tree(
        fts_open(roots, FTS_PHYSICAL | FTS_XDEV | FTS_NOCHDIR, nullptr), fts_close);
    if (!tree) return Fail(root, errno);
    for (FTSENT* at = nullptr; (at = fts_read(tree.get())) != nullptr;) {
      if (at->fts_info == FTS_DNR || at->fts_info == FTS_ERR || at->fts_info == FTS_NS) {
        Fail(at->fts_path, at->fts_errno);
      }
      if (at->fts_info != FTS_F) continue;
      files_.push_back({at->fts_path, static_cast<uint64_t>(at->fts_statp->st_size)});
      total_ += files_.back().bytes;
      progress.Update("looking", files_.size(), 0);
      progress.Tick();
    }
  }
  void Read(Progress& progress) {
    std::vector<std::thread> readers;
    std::atomic<size_t> running{0};
    for (size_t i = 0; i < std::min(kReaders, files_.size()); ++i) {
      ++running;
      readers.emplace_back([this, &running] {
        std::vector<char> buffer(kPiece);
        for (size_t at = 0; (at = next_.fetch_add(1)) < files_.size();) {
          ReadOne(files_[at].path, &buffer);
        }
        --running;
      });
    }
    while (running != 0) {
      std::this_thread::sleep_for(kTick);
      progress.Update("reading", read_ >> 20, total_ >> 20);
      progress.Tick();
    }
    for (std::thread& reader : readers) reader.join();
  }
  wire::WarmReport Report() const {
    wire::WarmReport report;
    report.set_files(files_.size());
    report.set_bytes(read_);
    report.set_failed(failed_);
    return report;
  }
  const std::string& first_failure() const { return first_failure_; }

 private:
  void ReadOne(const std::string& path, std::vector<char>* buffer) {
    const UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
    if (!fd) return Fail(path, errno);
    for (;;) {
      const ssize_t got = read(fd.get(), buffer->data(), buffer->size());
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return Fail(path, errno);
      if (got == 0) return;
      read_ += static_cast<uint64_t>(got);
    }
  }
  void Fail(const std::string& path, int code) {
    const std::lock_guard lock(mutex_);
    if (failed_++ == 0) first_failure_ = path + ": " + strerror(code);
  }

  std::vector<File> files_;
  uint64_t total_ = 0;
  std::atomic<size_t> next_{0};
  std::atomic<uint64_t> read_{0};
  std::mutex mutex_;
  uint64_t failed_ = 0;        // guarded by mutex_
  std::string first_failure_;  // ditto
};

}  // namespace

std::optional<Failure> Warm(const Invocation& asked, const Surroundings& around) {
  std::error_code error;
  const std::string path = std::filesystem::canonical(asked.mountpoint, error).string();
  if (error) {
    return Failure{wire::FAILURE_KIND_NOT_FOUND,
                   Printable(asked.mountpoint) + ": " + error.message(), ""};
  }
  if (!IsInAirstoreMount(path)) {
    return Failure{wire::FAILURE_KIND_NOT_FOUND, Printable(path) + " is in no mount of airstore",
                   "airctl status lists the mounts"};
  }
  Warming warming;
  {
    Progress progress("warming " + Printable(path), asked.verbose);
    warming.Find(path, progress);
    warming.Read(progress);
  }
  const wire::WarmReport report = warming.Report();
  if (asked.json) {
    around.out << ToJson(report) << "\n";
  } else {
    around.out << "read " << report.files() << (report.files() == 1 ? " file, " : " files, ")
               << HumanBytes(report.bytes()) << "\n";
  }
  if (report.failed() == 0) return {};
  return Failure{wire::FAILURE_KIND_INTERNAL,
                 asked.json ? ""
                            : std::to_string(report.failed()) + " could not be read, the first: " +
                                  Printable(warming.first_failure()),
                 ""};
}

}  // namespace airstore::airctl
