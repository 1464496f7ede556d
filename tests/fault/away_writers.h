// SPDX-License-Identifier: Apache-2.0
//
// Programs that write as fast as they can, in every way there is, and remember what was accepted.
// Threads: one for each writer; Compare: when they have ended.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "shm/base/fd.h"

namespace airstore::fault {

class Writer {
 public:
  // Works with files below `directory` whose names begin with `name`.
  Writer(std::string directory, std::string name);
  virtual ~Writer() = default;

  void Start();  // or goes on
  void Stop();   // and waits

  const std::string& name() const { return name_; }
  uint64_t accepted() const { return accepted_.load(); }
  uint64_t refused() const { return refused_.load(); }  // calls that said that there is no room
  const std::string& surprise() const { return surprise_; }
  // In another directory with the same files: what is wrong, empty when all that was accepted is
  // there.
  virtual std::string Compare(const std::string& directory) const = 0;

 protected:
  virtual void Step() = 0;
  virtual void Close() = 0;  // gives up what it has open
  std::string Path(const std::string& file) const { return directory_ + "/" + file; }
  void Accept(uint64_t bytes) { accepted_ += bytes; }
  // A call failed: there is no room, or it is a surprise.
  void Failed(const std::string& what, int error);
  // What was accepted is not kept: whatever the reason, a surprise.
  void Lost(const std::string& what, int error);

 private:
  std::string directory_;
  std::string name_;
  std::atomic<bool> stop_{false};
  std::atomic<uint64_t> accepted_{0};
  std::atomic<uint64_t> refused_{0};
  std::string surprise_;
  std::thread thread_;
};

// New files of so many bytes, one after the other.
std::unique_ptr<Writer> MakeStream(const std::string& directory, const std::string& name,
                                   uint64_t file_bytes);
// One file, opened at once and appended to.
std::unique_ptr<Writer> MakeAppender(const std::string& directory, const std::string& name);
// Stores into a map of a file that was written once.
std::unique_ptr<Writer> MakeMapper(const std::string& directory, const std::string& name);

}  // namespace airstore::fault
