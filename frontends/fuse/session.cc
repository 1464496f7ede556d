// SPDX-License-Identifier: Apache-2.0
#include "frontends/fuse/session.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "frontends/fuse/fuse_request.h"
#include "frontends/fuse/kernel_abi.h"
#include "frontends/fuse/ops.h"
#include "frontends/fuse/raw_requests.h"
#include "shm/base/fault.h"

namespace airstore::fuse {
namespace {

// As long as one reads, who is interrupted is heard, and who closes a file is let go.
constexpr unsigned kMaxWorkers = 128;
constexpr unsigned kIdleWorkers = 4;
constexpr unsigned kMaxWriteBytes = 1u << 20;  // what libfuse 3.14 has buffers for
constexpr unsigned kMaxBackground = 64;
constexpr unsigned kCongestion = kMaxBackground * 3 / 4;

void Want(fuse_conn_info* connection, unsigned capability) {
  connection->want |= connection->capable & capability;
}

// The kernel gives requests even numbers.
constexpr uint64_t kReplayedUnique = 1;

bool IsResent(uint64_t unique) { return (unique & abi::kUniqueResent) != 0; }

bool WantsAnswer(const abi::InHeader& header) {
  return header.unique != 0 && header.opcode != abi::kOpForget &&
         header.opcode != abi::kOpBatchForget && header.opcode != abi::kOpInterrupt;
}

// A page that is not there yet, when a signal kills us while the kernel copies a request to it,
// would make the kernel answer the request with EIO. All but writes fit into three pages; for
// those, as many as the mount has needed so far.
void MapRequestPages(uint8_t* buffer, size_t size, size_t greatest) {
  constexpr size_t kPage = 4096;
  struct Mapped {
    const uint8_t* buffer = nullptr;  // of this worker; it keeps the one it has
    size_t end = 0;
  };
  static thread_local Mapped mapped;
  if (mapped.buffer != buffer) mapped = {buffer, 0};
  // The buffer does not begin with a page: the last byte may lie in one more.
  const size_t wanted = std::min(size, std::max(greatest, 2 * kPage) + kPage);
  for (; mapped.end < wanted; mapped.end += kPage) {
    static_cast<volatile uint8_t&>(buffer[mapped.end]) = 0;
  }
}

void Refuse(fuse_conn_info* connection, unsigned capability) { connection->want &= ~capability; }

}  // namespace

void Session::OnInit(void* userdata, fuse_conn_info* connection) {
  const auto& session = *static_cast<const Session*>(userdata);
  Want(connection, FUSE_CAP_ASYNC_READ);
  Want(connection, FUSE_CAP_ATOMIC_O_TRUNC);
  Want(connection, FUSE_CAP_READDIRPLUS);
  Want(connection, FUSE_CAP_READDIRPLUS_AUTO);
  Want(connection, FUSE_CAP_PARALLEL_DIROPS);
  // The broker says when pages are out of date; guessing from times would drop good ones.
  Want(connection, FUSE_CAP_EXPLICIT_INVAL_DATA);
  Refuse(connection, FUSE_CAP_AUTO_INVAL_DATA);
  Want(connection, FUSE_CAP_CACHE_SYMLINKS);  // a link's target never changes
  // The kernel refuses passthrough on mounts with a write-back cache.
  Refuse(connection, FUSE_CAP_WRITEBACK_CACHE);
  Refuse(connection, FUSE_CAP_HANDLE_KILLPRIV);  // the second version of it, see InitPatch
  // The kernel checks access control lists; what they do to modes and umask is the broker's. With
  // them it checks all permissions, which is of no use when nobody is who the kernel thinks.
  if (const auto& squash = session.volume_.options().squash; squash && squash->all) {
    Refuse(connection, FUSE_CAP_POSIX_ACL);
  } else {
    Want(connection, FUSE_CAP_POSIX_ACL);
  }
  Want(connection, FUSE_CAP_DONT_MASK);
  // Payload lies in mapped memory: a pipe in between gains nothing.
  Refuse(connection, FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE);
  connection->max_write = kMaxWriteBytes;
  connection->max_background = kMaxBackground;
  connection->congestion_threshold = kCongestion;
  connection->time_gran = 1;
}

Session::Session(volume::Volume* volume, Options options)
    : volume_(*volume),
      options_(std::move(options)),
      opening_(volume->Opening()),
      init_(options_.passthrough),
      resent_(!opening_.empty(), [volume] { volume->NoMoreRepeated(); }),
      early_answers_(volume) {}

// A worker is cancelled in here when the session ends: nothing may be held across the read that
// cancellation does not release.
ssize_t Session::OnRead(int fd, void* buffer, size_t size, void* userdata) {
  auto& session = *static_cast<Session*>(userdata);
  const auto turn = session.resent_.Turn();
  MapRequestPages(static_cast<uint8_t*>(buffer), size, session.volume_.GreatestRequest());
  ssize_t got = read(fd, buffer, size);
  if (got < 0) {
    const int error = errno;
    if (error == ENODEV) session.options_.on_unmount();
    errno = error;
    return got;
  }
  const std::span<const uint8_t> request(static_cast<const uint8_t*>(buffer),
                                         static_cast<size_t>(got));
  session.volume_.NoteRequestBytes(request.size());
  got = static_cast<ssize_t>(TranslateRequest(static_cast<uint8_t*>(buffer), request.size(),
                                              session.init_.setxattr_ext()));
  abi::InHeader header{};
  if (request.size() >= sizeof(header)) memcpy(&header, request.data(), sizeof(header));
  uint64_t meant = 0;
  if (header.opcode == abi::kOpInterrupt && request.size() >= sizeof(header) + sizeof(meant)) {
    memcpy(&meant, request.data() + sizeof(header), sizeof(meant));
    session.early_answers_.OnInterrupt(meant);
  }
  if (!session.init_.done()) {
    session.init_.SeeRequest(request);
  } else if (WantsAnswer(header)) {
    const bool resent = IsResent(header.unique);
    const uint64_t unique = header.unique & ~abi::kUniqueResent;
    session.resent_.Seen(resent);
    FuseRequest::SetUnique(unique, resent);
    session.volume_.BeginRequest(unique, resent);
    Reach(FaultPoint::kFrontendRequestRead);
  }
  session.volume_.CountRequest();
  return got;
}

ssize_t Session::OnWrite(int fd, iovec* parts, int count, void* userdata) {
  auto& session = *static_cast<Session*>(userdata);
  if (!session.init_.done()) return session.AnswerInit(fd, parts, count);
  abi::OutHeader header{};
  if (parts[0].iov_len >= sizeof(header)) memcpy(&header, parts[0].iov_base, sizeof(header));
  Reach(FaultPoint::kFrontendBeforeReply);
  const ssize_t sent = writev(fd, parts, count);
  // libfuse also answers interrupts of requests that it does not know.
  if ((header.unique & ~abi::kUniqueResent) != FuseRequest::Unique()) return sent;
  const int error = errno;
  Reach(FaultPoint::kFrontendAfterReply);
  // Also when it failed: then the kernel does not want the answer, and will not ask again.
  session.volume_.EndRequest();
  session.resent_.Answered(IsResent(header.unique));
  errno = error;
  return sent;
}

void Session::OnHandedOver() {
  volume_.EndRequest();
  resent_.Answered(FuseRequest::Resent());
}

ssize_t Session::AnswerInit(int fd, iovec* parts, int count) {
  const std::vector<uint8_t> reply = init_.Patch(parts, count);
  if (reply.empty()) return writev(fd, parts, count);
  if (!opening_.empty()) {  // the kernel had this answer long ago
    init_.MarkDone();
    return static_cast<ssize_t>(reply.size());
  }
  const ssize_t sent = write(fd, reply.data(), reply.size());
  if (sent < 0) return sent;
  volume_.SaveOpening(init_.request());
  init_.MarkDone();
  options_.on_ready();
  return sent;
}

bool Session::ReplayInit(fuse_session* session) {
  abi::InHeader header;
  if (opening_.size() < sizeof(header)) return false;
  memcpy(&header, opening_.data(), sizeof(header));
  header.unique = kReplayedUnique;
  memcpy(opening_.data(), &header, sizeof(header));
  init_.SeeRequest(opening_);
  fuse_buf buffer{};
  buffer.size = opening_.size();
  buffer.mem = opening_.data();
  fuse_session_process_buf(session, &buffer);
  return init_.done();
}

int Session::Run(UniqueFd device) {
  fuse_lowlevel_ops ops{};
  ops.init = OnInit;
  AddNameOps(&ops);
  AddFileOps(&ops);
  AddDirOps(&ops);
  AddXattrOps(&ops);
  AddLockOps(&ops);
  char name[] = "airstore-fuse";
  char* arguments[] = {name, nullptr};
  fuse_args args = FUSE_ARGS_INIT(1, arguments);
  fuse_session* session = fuse_session_new(&args, &ops, sizeof(ops), this);
  if (session == nullptr) return ENOMEM;
  const fuse_custom_io io{OnWrite, OnRead, nullptr, nullptr};
  if (const int failed = fuse_session_custom_io(session, &io, device.get()); failed != 0) {
    fuse_session_destroy(session);
    return -failed;
  }
  (void)device.release();  // fuse_session_destroy closes it
  if (!opening_.empty()) {
    if (!ReplayInit(session)) {
      fuse_session_destroy(session);
      return EPROTO;
    }
    options_.on_ready();
  }
  fuse_loop_config* config = fuse_loop_cfg_create();
  fuse_loop_cfg_set_max_threads(config, kMaxWorkers);
  fuse_loop_cfg_set_idle_threads(config, kIdleWorkers);
  fuse_loop_cfg_set_clone_fd(config, 0);  // a cloned device dies with its process: no hand-over
  const int result = fuse_session_loop_mt(session, config);
  fuse_loop_cfg_destroy(config);
  fuse_session_destroy(session);
  return result < 0 ? -result : result;
}

}  // namespace airstore::fuse
