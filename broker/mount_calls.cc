// SPDX-License-Identifier: Apache-2.0
#include "broker/mount.h"

#include <fcntl.h>

#include <algorithm>

#include "broker/calls.h"
#include "broker/clock.h"
#include "broker/session.h"
#include "shm/base/fault.h"
#include "shm/request_rules.h"

namespace airstore::broker {
namespace {

bool Opens(const shm::Call& call, const shm::RequestReply& reply) {
  const auto op = static_cast<shm::Op>(call.args.op);
  return reply.error == 0 &&
         (op == shm::Op::kOpen || op == shm::Op::kCreate || op == shm::Op::kTmpfile);
}

// Else it is tried again, and is told when it has come to something.
bool EndsAWrite(int error) {
  return error != 0 && error != ETIMEDOUT && error != EAGAIN && error != EINTR && error != ENOTCONN;
}

}  // namespace

Task<void> Mount::HandleCall(shm::Call call) {
  const auto self = shared_from_this();
  Reach(FaultPoint::kCallTaken);
  // Only of a call of before it is ours.
  if (call.position > lane_->adopted_until()) call.executed.reset();
  if (call.given_up && !shm::GivesBack(call.args) && !ExecutedBefore(call)) {
    GiveUp(call.slot, ETIMEDOUT);
    co_return;
  }
  const std::vector<uint64_t> locked = LockedDirectories(call);
  Lock(locked);
  const uint64_t closes = closes_;
  const uint64_t watched = call_watch_->Begin(call.slot, call.args.pid, &session_->tasks());
  ++calls_in_work_;
  std::string text;
  const int64_t begun_ns = trace_.on() ? MonotonicNs() : 0;
  // Who is told of a time-out by another protocol does not ask by himself once more.
  RepeatedChanges::ChangePtr change;
  if (is_nfs()) change = co_await BeginChange(&call);
  shm::RequestReply reply{};
  if (change && call.executed && change->error != 0) {
    reply.error = change->error;
  } else {
    reply = co_await AnswerCall(session_, this, call, &text);
  }
  --calls_in_work_;
  if (begun_ns != 0) NoteCall(call, reply, begun_ns);
  // Who has been killed meanwhile would never close what it opened.
  const bool late = closes_ != closes && Opens(call, reply);
  const bool ours = call_watch_->End(watched);  // else its slot may be another call's by now
  const bool wanted = ours && !late;
  for (const uint64_t directory : locked) {
    locked_directories_.erase(locked_directories_.find(directory));
  }
  const bool answered = wanted && Answer(call, reply, text);
  if (change) EndChange(call, change, reply.error, answered);
  if (!wanted) {
    Undo(call, reply);
    if (late && ours) GiveUp(call.slot, ESTALE);
  }
}

Task<RepeatedChanges::ChangePtr> Mount::BeginChange(shm::Call* call) {
  if (call->position <= lane_->adopted_until()) co_return nullptr;
  bool first = true;
  shm::Call asked = *call;
  RepeatedChanges::ChangePtr change = co_await repeated_.Begin(std::move(asked), &first);
  if (change && first) changing_.emplace(call->position, change);
  // What was undone since is asked for by somebody else.
  if (change && !first && change->executed && Shows(*call, *change->executed)) {
    call->executed = change->executed;
  }
  co_return change;
}

bool Mount::Shows(const shm::Call& call, const shm::Executed& done) const {
  const shm::MetaWriter& meta = session_->inodes().meta();
  const auto has = [&meta](uint64_t directory, const std::string& name, uint64_t inode) {
    const uint32_t at = meta.FindDentry(directory, name);
    return at == shm::kNoIndex || meta.Dentry(at).inode == inode;
  };
  const shm::RequestArgs& args = call.args;
  switch (static_cast<shm::Op>(args.op)) {
    case shm::Op::kUnlink:
    case shm::Op::kRmdir:
      return has(args.inode, call.name, 0);
    case shm::Op::kRename:
      return has(args.inode, call.name, 0) && has(args.inode2, call.name2, done.inode);
    case shm::Op::kLink:
      return has(args.inode2, call.name, done.inode);
    case shm::Op::kMknod:
    case shm::Op::kMkdir:
    case shm::Op::kSymlink:
    case shm::Op::kCreate:
      return has(args.inode, call.name, done.inode);
    default:
      return true;
  }
}

void Mount::EndChange(const shm::Call& call, const RepeatedChanges::ChangePtr& change, int error,
                      bool answered) {
  changing_.erase(call.position);
  repeated_.End(call, change, error, answered);
}

void Mount::Executed(uint32_t slot, uint64_t position, const shm::Executed& executed) {
  lane_->NoteExecuted(slot, position, executed);
  const auto change = changing_.find(position);
  if (change != changing_.end()) change->second->executed = executed;
}

bool Mount::Answer(const shm::Call& call, const shm::RequestReply& reply, const std::string& text) {
  if (auto room = AdmitOpen(call, reply); !room) {
    Undo(call, reply);
    shm::RequestReply refused{};
    refused.error = room.error().code;
    return lane_->Reply(call.slot, refused);
  }
  const bool noted = NoteOpen(call, reply);
  if (session_->access().wanted()) NotePassthrough(call, reply);
  Reach(FaultPoint::kCallBeforeAnswer);
  const bool wanted = lane_->Reply(call.slot, reply, text);
  Reach(FaultPoint::kCallAfterAnswer);
  if (wanted) return true;
  if (noted) ledger_->TakeBackLastOpened();
  Undo(call, reply);
  return false;
}

void Mount::Undo(const shm::Call& call, const shm::RequestReply& reply) {
  const auto op = static_cast<shm::Op>(call.args.op);
  if ((op == shm::Op::kFsync || op == shm::Op::kFlush) && EndsAWrite(reply.error)) {
    // Nobody has heard of it.
    session_->inodes().Update(call.args.inode, [&](shm::InodeRecord& record) {
      if (record.write_error == 0) record.write_error = static_cast<uint32_t>(reply.error);
    });
  }
  if (reply.error != 0) return;
  if (static_cast<shm::Op>(call.args.op) == shm::Op::kSetLock) {
    if (reply.value == shm::kDeferred) {
      session_->locks().Interrupt(index_, call.args.unique);
    } else {
      session_->locks().TakeBack(index_, call.args.unique);
    }
  }
  UndoOpen(session_, this, call, reply);
}

Result<void> Mount::AdmitOpen(const shm::Call& call, const shm::RequestReply& reply) {
  if (!Opens(call, reply)) return {};
  const size_t before = ledger_->bytes();
  AIRSTORE_TRY(ledger_->Admit(reply.inode_index));
  if (ledger_->bytes() != before) NoteSpace();
  return {};
}

void Mount::NoteSpace() {
  space_.Set(lane_->lane().size() + lane_->arena().size() + ledger_->bytes());
}

void Mount::Lock(const std::vector<uint64_t>& directories) {
  for (const uint64_t directory : directories) locked_directories_.insert(directory);
  if (HeldUp()) DistrustNames();
}

bool Mount::HeldUp() const {
  return std::any_of(forgetting_.begin(), forgetting_.end(), [this](uint64_t directory) {
    return locked_directories_.contains(directory);
  });
}

// Right before the answer: who dies in between has the successor carry out the call once more.
bool Mount::NoteOpen(const shm::Call& call, const shm::RequestReply& reply) {
  if (!Opens(call, reply)) return false;
  ledger_->Opened(call.position, reply.inode_index, ModeOfOpen(call, reply), reply.backing_id);
  return true;
}

void Mount::NotePassthrough(const shm::Call& call, const shm::RequestReply& reply) {
  const auto op = static_cast<shm::Op>(call.args.op);
  if (reply.error != 0 || (op != shm::Op::kOpen && op != shm::Op::kCreate) ||
      (reply.open_mode & shm::kOpenModeMask) != shm::kOpenPassthrough ||
      (call.args.flags & O_ACCMODE) == O_WRONLY) {
    return;
  }
  session_->access().Opened(*this, reply.attr.inode);
}

void Mount::GiveUp(uint32_t slot, int error) {
  shm::RequestReply reply{};
  reply.error = error;
  lane_->Reply(slot, reply);
}

}  // namespace airstore::broker
