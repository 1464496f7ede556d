// SPDX-License-Identifier: Apache-2.0
#include "frontends/nfs/dispatcher.h"

#include <algorithm>
#include <optional>

#include "frontends/nfs/procedures.h"

namespace airstore::nfs {
namespace {

constexpr uint64_t kUnnamed = 0;  // nobody asks for the answer once more
constexpr size_t kHeadOfWrite = 256;

// Runs it, and leaves a whole reply in `out` unless it was sent.
Outcome Execute(Procedure run, Call& call, uint32_t xid, XDR* in, XDR* out) {
  EncodeSuccess(out, xid);
  const Outcome outcome = run(call, in, out);
  if (outcome == Outcome::kGarbage) {
    xdr_setpos(out, 0);
    EncodeFailure(out, xid, GARBAGE_ARGS);
  }
  return outcome;
}

}  // namespace

// A socket of root (the kernel's client is one) speaks for anybody. One of the mount's owner speaks
// for that user, and for groups that cannot be checked here for none.
auth_stat Dispatcher::Identify(const Peer& peer, CallHead* head) const {
  Identity& identity = head->identity;
  const ExportOptions& options = service_.options;
  if (head->flavor == AUTH_NONE && head->program == MOUNT3_PROGRAM &&
      options.mount_without_credentials) {
    identity = {options.anonymous_uid, options.anonymous_gid, 0, {}};
    return AUTH_OK;
  }
  if (head->flavor != AUTH_SYS) return AUTH_TOOWEAK;
  if (peer.uid != 0) {
    if (peer.uid != options.owner_uid || identity.uid != peer.uid) return AUTH_BADCRED;
    identity = {options.owner_uid, options.owner_gid, 0, {}};
  }
  if (options.squash_all || (options.squash_root && identity.uid == 0)) {
    identity = {options.anonymous_uid, options.anonymous_gid, 0, {}};
  }
  return AUTH_OK;
}

bool Dispatcher::Serve(std::span<const uint8_t> record, const Peer& peer, std::span<char> room,
                       ReplySender& sender) {
  XDR in;
  XDR out;
  // It is not written to.
  xdrmem_create(&in, reinterpret_cast<char*>(const_cast<uint8_t*>(record.data())),
                static_cast<u_int>(record.size()), XDR_DECODE);
  xdrmem_create(&out, room.data(), static_cast<u_int>(room.size()), XDR_ENCODE);
  CallHead head;
  const CallHeadResult result = DecodeCallHead(&in, &head);
  if (result == CallHeadResult::kNoCall) return false;
  const bool nfs = head.program == NFS3_PROGRAM;
  if (result == CallHeadResult::kBadVersion) {
    EncodeRpcMismatch(&out, head.xid);
  } else if (result == CallHeadResult::kBadIdentity) {
    EncodeAuthError(&out, head.xid, AUTH_BADCRED);
  } else if (!nfs && head.program != MOUNT3_PROGRAM) {
    EncodeFailure(&out, head.xid, PROG_UNAVAIL);
  } else if (head.version != 3) {
    EncodeVersions(&out, head.xid, 3, 3);
  } else {
    const ProcedureEntry* entry =
        nfs ? FindNfsProcedure(head.procedure) : FindMountProcedure(head.procedure);
    const auth_stat identified = head.procedure == NFSPROC3_NULL ? AUTH_OK : Identify(peer, &head);
    if (identified != AUTH_OK) {
      EncodeAuthError(&out, head.xid, identified);
    } else if (entry == nullptr) {
      EncodeFailure(&out, head.xid, PROC_UNAVAIL);
    } else if (entry->kind == Kind::kOnce) {
      sender.LetOthersGoOn();
      RunOnce(*entry, head, record, &in, &out, sender);
      return true;
    } else {
      if (entry->kind == Kind::kLong) sender.LetOthersGoOn();
      std::optional<WritesInWork::Turn> turn;
      if (nfs && head.procedure == NFSPROC3_WRITE) {
        turn.emplace(&writes_, UniqueOf(head, record.first(std::min(record.size(), kHeadOfWrite))));
        if (!turn->first()) return true;
      }
      Call call(&service_, head, kUnnamed, &sender);
      if (Execute(entry->run, call, head.xid, &in, &out) == Outcome::kSent) return true;
    }
  }
  sender.Send({room.data(), xdr_getpos(&out)}, nullptr, 0);
  return true;
}

void Dispatcher::NoMoreRepeated() {
  repeats_.store(false, std::memory_order_relaxed);
  service_.volume.NoMoreRepeated();
}

uint64_t Dispatcher::UniqueOf(const CallHead& head, std::span<const uint8_t> record) const {
  const uint64_t hash = SipHash(service_.options.key, record);
  return static_cast<uint64_t>(head.xid) << 32 | (hash >> 32) | 1;
}

// While the broker's answer has not reached the client, it stays in the lane: a client that has
// lost us sends the call again, and whoever serves it then finds the answer under the same number.
void Dispatcher::RunOnce(const ProcedureEntry& entry, const CallHead& head,
                         std::span<const uint8_t> record, XDR* in, XDR* out, ReplySender& sender) {
  const uint64_t unique = UniqueOf(head, record);
  std::array<char, DuplicateRequests::kReplyBytes> before;
  size_t bytes = 0;
  if (!duplicates_.Begin(unique, &before, &bytes)) {
    sender.Send({before.data(), bytes}, nullptr, 0);
    return;
  }
  Call call(&service_, head, unique, &sender);
  service_.volume.BeginRequest(unique, repeats());
  Execute(entry.run, call, head.xid, in, out);
  const std::span<const char> reply(out->x_base, xdr_getpos(out));
  duplicates_.Finish(unique, reply);
  sender.Send(reply, nullptr, 0);
  service_.volume.EndRequest();
}

}  // namespace airstore::nfs
