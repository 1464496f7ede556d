// SPDX-License-Identifier: Apache-2.0
//
// ContextClient: the calls of context.ContextService (v1), in the broker's own types. Paths have no
// slash at their ends; "" is the root.
//
// Threads: every method is called and resumed on the event loop.
// Fails: a call that was not answered as in broker/gateway.h (EAGAIN, EACCES, ENOSYS, EPROTO, EIO);
// a refusal by the errno that it means (see refusal.h), and refused().
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "broker/gateway.h"
#include "broker/task.h"
#include "shm/base/result.h"
#include "shm/base/wipe.h"

namespace airstore::broker::v1 {

struct Info {
  uint64_t size = 0;
  uint32_t mode = 0;  // with the type bits
  int64_t mtime_s = 0;
};

struct Entry {
  std::string name;
  Info info;
};

struct TreePage {
  std::vector<Entry> entries;  // names are paths below the one asked for
  std::string next;            // token of the next page; empty: it was the last one
};

// What a gateway tells of itself by how it answers.
struct Manners {
  // Answers carry errnos, writes keep what is behind them, listings are whole, directories are kept
  // when they are empty and are renamed as one, modes are kept, objects may be of any size.
  bool exact = false;
  bool read_only = false;  // it has no storage
};

// Most bytes of content in a message: gateways take 16 MiB of message.
inline constexpr uint64_t kMostContent = 15u << 20;

class ContextClient {
 public:
  virtual ~ContextClient() = default;

  virtual Task<Result<Info>> Stat(std::string path) = 0;
  virtual Task<Result<std::vector<Entry>>> ReadDir(std::string path) = 0;
  // At most one level; `most`: entries of a page.
  virtual Task<Result<TreePage>> ListTree(std::string path, int depth, int most,
                                          std::string token) = 0;
  // Short at the end of the file. `length` is at most kMostContent, and not 0.
  virtual Task<Result<std::string>> Read(std::string path, uint64_t offset, uint64_t length) = 0;
  virtual Task<Result<void>> Write(std::string path, uint64_t offset, std::string data) = 0;
  // `exclusive`: EEXIST when it is there, where the gateway can tell.
  virtual Task<Result<void>> Create(std::string path, uint32_t mode, bool exclusive) = 0;
  virtual Task<Result<void>> Mkdir(std::string path, uint32_t mode, bool exclusive) = 0;
  virtual Task<Result<void>> Delete(std::string path) = 0;
  virtual Task<Result<void>> Rename(std::string from, std::string to) = 0;
  virtual Task<Result<void>> Truncate(std::string path, uint64_t size) = 0;
  // Gives it the gateway's time. One that does not know of this cuts it to `size`, which it has.
  virtual Task<Result<void>> Touch(std::string path, uint64_t size) = 0;
  virtual Task<Result<void>> Symlink(std::string target, std::string path) = 0;
  virtual Task<Result<std::string>> Readlink(std::string path) = 0;

  // Learned from the answers so far.
  virtual Manners manners() const = 0;
  virtual bool refused_token() const = 0;
  virtual void SetToken(Secret token) = 0;
  virtual const GatewayCounters& counters() const = 0;
  virtual std::string state() const = 0;
  virtual void Reconnect() = 0;
  // Before anything is asked.
  virtual void Configure(const ServiceSettings& settings) { (void)settings; }
  // What there is beside storage, over the same connection. nullptr: nothing.
  virtual std::shared_ptr<GatewayServices> services() { return nullptr; }
};

}  // namespace airstore::broker::v1
