// SPDX-License-Identifier: Apache-2.0
//
// Handover: one broker gives its state directory and its control socket to another one, which it
// has started itself.
//
//   old                                    new
//   starts the program           ------->
//                                <-------  hello: what it can do, what it needs of the old one
//   compares; hello              ------->  compares; looks at the state directory, changes nothing
//                                <-------  ready, or why not
//   lets go of everything; go,
//   with lock and socket         ------->  serves the mounts
//                                <-------  done
//   ends
//
// Until "done" the old one can go on: before "go" it has not stopped, after it it starts itself
// anew with the lock and the socket that it still has. Threads: Successor: main, before the loop
// runs. Handover: the event loop, but for Complete.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "broker/broker_api.h"
#include "shm/base/fd.h"

namespace airstore::broker {

// What a broker understands of what another one leaves. A bit is never given another meaning;
// formats that change get new ones.
enum Capability : uint64_t {
  kCanAdoptMounts = 1u << 0,     // links, lanes and tables, ABI 3
  kCanReadJournal = 1u << 5,     // the records of journal_records.h, format 3; 1u << 1 was 2
  kCanReadManifests = 1u << 2,   // session.json and mount-N.json of version 1
  kCanReadLedgers = 1u << 3,     // mount_ledger.h, version 1
  kCanTakeDescriptors = 1u << 4  // lock and control socket over the handover's socket
};
inline constexpr uint64_t kCapabilities =
    kCanAdoptMounts | kCanReadJournal | kCanReadManifests | kCanReadLedgers | kCanTakeDescriptors;
// For people; empty when nothing is missing.
std::string MissingCapabilities(uint64_t have, uint64_t needed);

// What goes from one broker to the other.
struct Estate {
  UniqueFd lock;     // of the state directory, locked
  UniqueFd control;  // listening
};

// The old broker's side.
class Handover {
 public:
  // `arguments`: of this program's command line, without its name.
  Handover(const boost::asio::any_io_executor& executor, std::vector<std::string> arguments);
  ~Handover();
  Handover(const Handover&) = delete;
  Handover& operator=(const Handover&) = delete;

  // Starts the program and returns when it only waits for us to let go. A failure: it has ended,
  // and nothing has changed.
  Task<Outcome<Nothing>> Prepare(std::string program, const ProgressFn& progress);
  bool prepared() const { return prepared_; }
  // Ends the program; the failure to answer with.
  Outcome<Nothing> CallOff(std::string why) { return Give(FailureKind::kBusy, std::move(why)); }
  // REQUIRES: prepared, and everything of ours is let go. Blocks. False: the new broker did not
  // take over, and is gone.
  bool Complete(int lock, int control);

 private:
  Outcome<Nothing> Start(const std::string& program);
  Outcome<Nothing> Give(FailureKind kind, std::string why);
  void End();

  boost::asio::any_io_executor executor_;
  std::vector<std::string> arguments_;
  std::string program_;
  UniqueFd socket_;
  UniqueFd pidfd_;
  pid_t pid_ = -1;
  bool prepared_ = false;
};

// The new broker's side; also of an old one that had to start itself anew.
class Successor {
 public:
  // As the environment says; `inherits()` is false for a broker that was started in any other way.
  explicit Successor(const char* (*getenv)(const char*));
  bool inherits() const { return socket_ || estate_.lock; }
  // Returns when the old broker has let go. Without a value: it has not, and says why. `check`:
  // what would keep us from serving, while the old one still does.
  Result<Estate> TakeOver(const std::string& state_dir, const std::function<Result<void>()>& check);
  // It may end now.
  void Done();

 private:
  UniqueFd socket_;
  Estate estate_;
};

// Replaces this process by its own program, which goes on with lock and socket. Does not return.
[[noreturn]] void StartAnew(const std::vector<std::string>& arguments, int lock, int control);

// Whether what lies in the spool can be taken over: changes nothing.
Result<void> CheckSpool(const std::string& spool);

}  // namespace airstore::broker
