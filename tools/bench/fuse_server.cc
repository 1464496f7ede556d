// SPDX-License-Identifier: Apache-2.0
#include "tools/bench/fuse_server.h"

#include <linux/fuse.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <memory>
#include <vector>

namespace airstore::bench {
namespace {

constexpr unsigned kMaxWrite = 1 << 20;
constexpr unsigned kMaxBackground = 64;
constexpr unsigned kMaxThreads = 10;
constexpr unsigned kIdleThreads = 4;

ssize_t ReadRequest(int fd, void* buffer, size_t size, void* /*userdata*/) {
  return read(fd, buffer, size);
}

// libfuse 3.14 offers FUSE_PARALLEL_DIROPS but leaves it out of the INIT reply, which is the first
// message it writes: put it in there.
ssize_t WriteReply(int fd, iovec* iov, int count, void* /*userdata*/) {
  static std::atomic<bool> init_seen{false};
  if (!init_seen.load(std::memory_order_relaxed) && !init_seen.exchange(true) && count >= 2 &&
      iov[1].iov_len >= offsetof(fuse_init_out, max_background)) {
    static_cast<fuse_init_out*>(iov[1].iov_base)->flags |= FUSE_PARALLEL_DIROPS;
  }
  return writev(fd, iov, count);
}

struct SessionDeleter {
  void operator()(fuse_session* session) const { fuse_session_destroy(session); }
};
struct LoopConfigDeleter {
  void operator()(fuse_loop_config* config) const { fuse_loop_cfg_destroy(config); }
};

}  // namespace

void ApplyFuseSettings(fuse_conn_info* connection) {
  const unsigned off = FUSE_CAP_WRITEBACK_CACHE | FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE |
                       FUSE_CAP_SPLICE_MOVE | FUSE_CAP_AUTO_INVAL_DATA;
  const unsigned on = FUSE_CAP_ASYNC_READ | FUSE_CAP_PARALLEL_DIROPS | FUSE_CAP_READDIRPLUS |
                      FUSE_CAP_READDIRPLUS_AUTO | FUSE_CAP_ATOMIC_O_TRUNC |
                      FUSE_CAP_CACHE_SYMLINKS | FUSE_CAP_EXPLICIT_INVAL_DATA;
  connection->want = (connection->want & ~off) | (on & connection->capable);
  connection->max_write = kMaxWrite;
  connection->max_background = kMaxBackground;
}

void KeepFileCache(fuse_file_info* file) { file->keep_cache = 1; }

void KeepDirectoryCache(fuse_file_info* file) {
  file->keep_cache = 1;
  file->cache_readdir = 1;
}

Result<void> RunFuseServer(const FuseServer& server) {
  std::string options = "default_permissions,fsname=" + server.name + ",subtype=" + server.name;
  if (geteuid() == 0) options += ",allow_other";
  std::string program = server.name;
  std::string flag = "-o";
  std::array<char*, 3> argv{program.data(), flag.data(), options.data()};
  fuse_args args = FUSE_ARGS_INIT(static_cast<int>(argv.size()), argv.data());

  const std::unique_ptr<fuse_session, SessionDeleter> session(
      fuse_session_new(&args, &server.operations, sizeof(server.operations), server.userdata));
  fuse_opt_free_args(&args);
  if (!session) return SysError("fuse session for " + server.mountpoint, EINVAL);
  if (fuse_set_signal_handlers(session.get()) != 0) return SysError("signal handlers", EINVAL);
  if (fuse_session_mount(session.get(), server.mountpoint.c_str()) != 0) {
    const Error error = SysError("mount on " + server.mountpoint, errno != 0 ? errno : EPERM);
    fuse_remove_signal_handlers(session.get());
    return error;
  }
  fuse_custom_io io{};
  io.writev = WriteReply;
  io.read = ReadRequest;
  int rc = fuse_session_custom_io(session.get(), &io, fuse_session_fd(session.get()));
  if (rc == 0) {
    const std::unique_ptr<fuse_loop_config, LoopConfigDeleter> loop(fuse_loop_cfg_create());
    fuse_loop_cfg_set_clone_fd(loop.get(), 0);
    fuse_loop_cfg_set_max_threads(loop.get(), kMaxThreads);
    fuse_loop_cfg_set_idle_threads(loop.get(), kIdleThreads);
    rc = fuse_session_loop_mt(session.get(), loop.get());
  }
  fuse_session_unmount(session.get());
  fuse_remove_signal_handlers(session.get());
  // A positive value is the signal that ended the loop: the ordinary end.
  if (rc < 0) return SysError("serve " + server.mountpoint, -rc);
  return {};
}

}  // namespace airstore::bench
