// SPDX-License-Identifier: Apache-2.0
//
// RepeatedChanges: changes of names that an NFS client is told to ask for again, because the
// gateway does not answer in time (NFS3ERR_JUKEBOX). It does so with a new call. Carried out like
// another one that would be refused, by what the first has done: EEXIST for a directory of its own
// making. So the new call waits for the first, and has its outcome.
//
// Threads: the event loop. Memory: of the changes that are under way, and of what came of them
// while a client may still ask.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <unordered_map>

#include "broker/task.h"
#include "shm/lane.h"

namespace airstore::broker {

class RepeatedChanges {
 public:
  struct Change {
    explicit Change(boost::asio::any_io_executor executor) : ended_event(executor) {}
    int64_t begun_ns = 0;
    int64_t ended_ns = 0;                   // 0: under way
    std::optional<shm::Executed> executed;  // as soon as it was made here
    int error = 0;                          // when it has ended
    Event ended_event;
  };
  using ChangePtr = std::shared_ptr<Change>;

  // `patience_ns`: after that a client is told to ask again.
  RepeatedChanges(boost::asio::any_io_executor executor, int64_t patience_ns);

  // nullptr: the call is none of these, or somebody else's that asks for the same at the same time.
  // Else what the call is part of, and `*first` says whether it is to make the change; End must
  // follow. Of a call that is not the first: when the change has ended.
  Task<ChangePtr> Begin(shm::Call call, bool* first);
  void End(const shm::Call& call, const ChangePtr& change, int error, bool answered);

 private:
  // All that the client says of it, but for the number of the call.
  static std::string KeyOf(const shm::Call& call);
  void ForgetOld(int64_t now_ns);

  boost::asio::any_io_executor executor_;
  int64_t patience_ns_;
  std::unordered_map<std::string, ChangePtr> changes_;
};

}  // namespace airstore::broker
