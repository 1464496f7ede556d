// SPDX-License-Identifier: Apache-2.0
#include "frontends/fuse/fuse_request.h"

#include "frontends/fuse/session.h"

namespace airstore::fuse {
namespace {

thread_local uint64_t unique_of_thread = 0;
thread_local bool resent_of_thread = false;

void WakeWaiters(fuse_req_t /*req*/, void* data) {
  static_cast<volume::Volume*>(data)->Interrupt();
}

}  // namespace

void FuseRequest::SetUnique(uint64_t unique, bool resent) {
  unique_of_thread = unique;
  resent_of_thread = resent;
}

uint64_t FuseRequest::Unique() { return unique_of_thread; }

bool FuseRequest::Resent() { return resent_of_thread; }

FuseRequest::FuseRequest(fuse_req_t req)
    : req_(req),
      session_(*static_cast<Session*>(fuse_req_userdata(req))),
      volume_(session_.volume()) {}

volume::Caller FuseRequest::caller() const {
  const fuse_ctx* context = fuse_req_ctx(req_);
  volume::Caller caller{unique_of_thread, context->uid, context->gid,
                        static_cast<uint32_t>(context->pid), static_cast<uint32_t>(context->umask)};
  if (squashed()) {
    caller.uid = volume_.options().squash->uid;
    caller.gid = volume_.options().squash->gid;
  }
  return caller;
}

bool FuseRequest::squashed() const {
  const auto& squash = volume_.options().squash;
  return squash && (squash->all || fuse_req_ctx(req_)->uid == 0);
}

void FuseRequest::StartWait() { fuse_req_interrupt_func(req_, WakeWaiters, &volume_); }

void FuseRequest::EndWait() { fuse_req_interrupt_func(req_, nullptr, nullptr); }

}  // namespace airstore::fuse
