// SPDX-License-Identifier: Apache-2.0
#include "frontends/fuse/session.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "frontends/fuse/fuse_request.h"
#include "frontends/fuse/kernel_abi.h"
#include "frontends/fuse/ops.h"

namespace airstore::fuse {
namespace {

constexpr unsigned kMaxWorkers = 64;  // as many calls as a lane has slots can wait
constexpr unsigned kIdleWorkers = 4;
constexpr unsigned kMaxWriteBytes = 1u << 20;  // what libfuse 3.14 has buffers for
constexpr unsigned kMaxBackground = 64;
constexpr unsigned kCongestion = kMaxBackground * 3 / 4;

void Want(fuse_conn_info* connection, unsigned capability) {
  connection->want |= connection->capable & capability;
}

void Refuse(fuse_conn_info* connection, unsigned capability) { connection->want &= ~capability; }

}  // namespace

void Session::OnInit(void* /*userdata*/, fuse_conn_info* connection) {
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
  Refuse(connection, FUSE_CAP_HANDLE_KILLPRIV);
  // Payload lies in mapped memory: a pipe in between gains nothing.
  Refuse(connection, FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE);
  connection->max_write = kMaxWriteBytes;
  connection->max_background = kMaxBackground;
  connection->congestion_threshold = kCongestion;
  connection->time_gran = 1;
}

// A worker is cancelled in here when the session ends: nothing may be held across the read.
ssize_t Session::OnRead(int fd, void* buffer, size_t size, void* userdata) {
  auto& session = *static_cast<Session*>(userdata);
  const ssize_t got = read(fd, buffer, size);
  if (got < 0) {
    const int error = errno;
    if (error == ENODEV) session.options_.on_unmount();
    errno = error;
    return got;
  }
  const std::span<const uint8_t> request(static_cast<const uint8_t*>(buffer),
                                         static_cast<size_t>(got));
  if (request.size() >= sizeof(abi::InHeader)) {
    abi::InHeader header;
    memcpy(&header, request.data(), sizeof(header));
    FuseRequest::SetUnique(header.unique);
    uint64_t meant = 0;
    if (header.opcode == abi::kOpInterrupt && request.size() >= sizeof(header) + sizeof(meant)) {
      memcpy(&meant, request.data() + sizeof(header), sizeof(meant));
      session.early_answers_.OnInterrupt(meant);
    }
  }
  if (!session.init_.done()) session.init_.SeeRequest(request);
  session.volume_.CountRequest();
  return got;
}

ssize_t Session::OnWrite(int fd, iovec* parts, int count, void* userdata) {
  auto& session = *static_cast<Session*>(userdata);
  if (session.init_.done()) return writev(fd, parts, count);
  const std::vector<uint8_t> reply = session.init_.Patch(parts, count);
  if (reply.empty()) return writev(fd, parts, count);
  const ssize_t sent = write(fd, reply.data(), reply.size());
  if (sent < 0) return sent;
  session.init_.MarkDone();
  session.options_.on_ready();
  return sent;
}

int Session::Run(UniqueFd device) {
  fuse_lowlevel_ops ops{};
  ops.init = OnInit;
  AddNameOps(&ops);
  AddFileOps(&ops);
  AddDirOps(&ops);
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
