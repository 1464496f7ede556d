// SPDX-License-Identifier: Apache-2.0
//
// Dispatcher: from one RPC record to its reply: which program and procedure, who asks, whether the
// call was sent before. It knows no sockets.
// Threads: any.
#pragma once

#include <atomic>
#include <cstdint>
#include <span>

#include "frontends/nfs/call.h"
#include "frontends/nfs/duplicate_requests.h"
#include "frontends/nfs/procedures.h"
#include "frontends/nfs/service.h"
#include "frontends/nfs/writes_in_work.h"

namespace airstore::nfs {

// Who is at the other end of a connection, as the host says.
struct Peer {
  uint32_t uid = 0;
};

class Dispatcher {
 public:
  // The longest reply without a payload.
  static constexpr size_t kReplyBytes = 72u << 10;

  // `successor`: there was another process, and clients may send again what it was sent.
  Dispatcher(Service* service, bool successor) : service_(*service), repeats_(successor) {}

  // `out` has kReplyBytes, on a boundary of words. False: the stream makes no sense; nothing is
  // sent.
  bool Serve(std::span<const uint8_t> record, const Peer& peer, std::span<char> out,
             ReplySender& sender);
  // No client repeats a call any more that an earlier process was sent.
  void NoMoreRepeated();
  bool repeats() const { return repeats_.load(std::memory_order_relaxed); }

 private:
  // AUTH_OK, or why the identity is not accepted. Makes it what it is squashed to.
  auth_stat Identify(const Peer& peer, CallHead* head) const;
  void RunOnce(const ProcedureEntry& entry, const CallHead& head, std::span<const uint8_t> record,
               XDR* in, XDR* out, ReplySender& sender);
  // The same for the same call, whoever is asked.
  uint64_t UniqueOf(const CallHead& head, std::span<const uint8_t> record) const;

  Service& service_;
  DuplicateRequests duplicates_;
  WritesInWork writes_;
  std::atomic<bool> repeats_;
};

}  // namespace airstore::nfs
