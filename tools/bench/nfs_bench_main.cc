// SPDX-License-Identifier: Apache-2.0
//
// airstore-bench-nfs: how fast an NFS version 3 server answers libnfs: one file written and read in
// pieces of 1 MiB (reading: the median of some passes), and GETATTR and LOOKUP with some calls under
// way. Prints one line of JSON.
// Writing is timed without the COMMIT at its end.
#include <fcntl.h>
#include <nfsc/libnfs.h>
#include <poll.h>

// After libnfs.h, which declares what they use.
#include <nfsc/libnfs-raw-mount.h>
#include <nfsc/libnfs-raw-nfs.h>
#include <nfsc/libnfs-raw.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

namespace {

constexpr int kMiB = 1 << 20;
constexpr int kUnderWay = 8;
constexpr int kNames = 1000;

struct Options {
  int port = 0;
  int mount_port = 0;
  std::string path;
  int mib = 256;
  int reads = 5;
  double seconds = 1;
};

double Now() {
  using namespace std::chrono;
  return duration<double>(steady_clock::now().time_since_epoch()).count();
}

// Also from within libnfs, which knows no exceptions.
[[noreturn]] void Fail(const std::string& what) {
  fprintf(stderr, "airstore-bench-nfs: %s\n", what.c_str());
  exit(1);
}

class Files {
 public:
  explicit Files(const Options& options) : context_(nfs_init_context()) {
    const std::string url = "nfs://127.0.0.1" + options.path +
                            "/?version=3&nfsport=" + std::to_string(options.port) +
                            "&mountport=" + std::to_string(options.mount_port);
    nfs_url* parsed = nfs_parse_url_dir(context_, url.c_str());
    if (parsed == nullptr || nfs_mount(context_, parsed->server, parsed->path) != 0) Fail(Error());
    nfs_destroy_url(parsed);
  }
  ~Files() { nfs_destroy_context(context_); }
  Files(const Files&) = delete;
  Files& operator=(const Files&) = delete;

  void MakeNames() {
    for (int i = 0; i < kNames; ++i) {
      nfsfh* file = nullptr;
      if (nfs_creat(context_, ("/n" + std::to_string(i)).c_str(), 0644, &file) != 0) Fail(Error());
      nfs_close(context_, file);
    }
  }
  double Write(int mib) {
    nfsfh* file = nullptr;
    (void)nfs_unlink(context_, "/content");
    if (nfs_creat(context_, "/content", 0644, &file) != 0) Fail(Error());
    std::vector<char> piece(kMiB, 'w');
    const double begun = Now();
    for (int i = 0; i < mib; ++i) {
      const auto at = static_cast<uint64_t>(i) * kMiB;
      if (nfs_pwrite(context_, file, at, kMiB, piece.data()) != kMiB) Fail("write: " + Error());
    }
    const double rate = mib / (Now() - begun);
    if (nfs_fsync(context_, file) != 0) Fail("fsync: " + Error());
    nfs_close(context_, file);
    return rate;
  }
  double Read(int mib) {
    nfsfh* file = nullptr;
    if (nfs_open(context_, "/content", O_RDONLY, &file) != 0) Fail(Error());
    std::vector<char> piece(kMiB);
    const double begun = Now();
    for (int i = 0; i < mib; ++i) {
      const auto at = static_cast<uint64_t>(i) * kMiB;
      if (nfs_pread(context_, file, at, kMiB, piece.data()) != kMiB) Fail("read: " + Error());
    }
    const double rate = mib / (Now() - begun);
    nfs_close(context_, file);
    return rate;
  }

 private:
  std::string Error() const { return nfs_get_error(context_); }
  nfs_context* context_;
};

// Calls made one by one, some of them under way at a time.
class Calls {
 public:
  explicit Calls(const Options& options) : mount_(rpc_init_context()), nfs_(rpc_init_context()) {
    Connect(mount_, options.mount_port, MOUNT_PROGRAM, MOUNT_V3);
    std::string path = options.path;
    if (rpc_mount3_mnt_async(mount_, OnMounted, path.data(), this) != 0) Fail("MNT");
    Run(mount_, [this] { return !root_.empty(); });
    Connect(nfs_, options.port, NFS_PROGRAM, NFS_V3);
  }
  ~Calls() {
    rpc_destroy_context(mount_);
    rpc_destroy_context(nfs_);
  }
  Calls(const Calls&) = delete;
  Calls& operator=(const Calls&) = delete;

  // Answers in a second.
  double Rate(bool lookup, double seconds) {
    lookup_ = lookup;
    answers_ = 0;
    under_way_ = 0;
    const double begun = Now();
    until_ = begun + seconds;
    for (int i = 0; i < kUnderWay; ++i) Ask();
    Run(nfs_, [this] { return under_way_ == 0; });
    return static_cast<double>(answers_) / (Now() - begun);
  }

 private:
  static void OnConnected(rpc_context*, int status, void*, void* self) {
    if (status != RPC_STATUS_SUCCESS) Fail("connect");
    static_cast<Calls*>(self)->connected_ = true;
  }
  static void OnMounted(rpc_context*, int status, void* data, void* self) {
    const auto* result = static_cast<mountres3*>(data);
    if (status != RPC_STATUS_SUCCESS || result->fhs_status != MNT3_OK) Fail("MNT is refused");
    const fhandle3& handle = result->mountres3_u.mountinfo.fhandle;
    static_cast<Calls*>(self)->root_.assign(handle.fhandle3_val, handle.fhandle3_len);
  }
  static void OnAnswer(rpc_context*, int status, void* data, void* self) {
    // Of both results it is the first word.
    if (status != RPC_STATUS_SUCCESS || *static_cast<nfsstat3*>(data) != NFS3_OK) Fail("a call");
    auto* calls = static_cast<Calls*>(self);
    ++calls->answers_;
    --calls->under_way_;
    if (Now() < calls->until_) calls->Ask();
  }
  void Connect(rpc_context* to, int port, int program, int version) {
    connected_ = false;
    if (rpc_connect_port_async(to, "127.0.0.1", port, program, version, OnConnected, this) != 0) {
      Fail("connect");
    }
    Run(to, [this] { return connected_; });
  }
  void Ask() {
    ++under_way_;
    nfs_fh3 root{};
    root.data.data_len = static_cast<u_int>(root_.size());
    root.data.data_val = root_.data();
    if (lookup_) {
      name_ = "n" + std::to_string(answers_ % kNames);
      LOOKUP3args args{};
      args.what.dir = root;
      args.what.name = name_.data();
      if (rpc_nfs3_lookup_async(nfs_, OnAnswer, &args, this) != 0) Fail("LOOKUP");
    } else {
      GETATTR3args args{};
      args.object = root;
      if (rpc_nfs3_getattr_async(nfs_, OnAnswer, &args, this) != 0) Fail("GETATTR");
    }
  }
  template <typename Done>
  static void Run(rpc_context* of, const Done& done) {
    while (!done()) {
      pollfd ready{rpc_get_fd(of), static_cast<short>(rpc_which_events(of)), 0};
      if (poll(&ready, 1, 10'000) <= 0) Fail("no answer");
      if (rpc_service(of, ready.revents) < 0) Fail(rpc_get_error(of));
    }
  }

  rpc_context* mount_;
  rpc_context* nfs_;
  std::string root_;
  std::string name_;
  bool connected_ = false;
  bool lookup_ = false;
  int under_way_ = 0;
  double until_ = 0;
  uint64_t answers_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app("Measures an NFS version 3 server of this host through libnfs.");
  app.add_option("--port", options.port, "Of NFS")->required();
  app.add_option("--mount-port", options.mount_port, "Of MOUNT")->required();
  app.add_option("--path", options.path, "What it exports")->required();
  app.add_option("--mib", options.mib, "Size of the file");
  app.add_option("--reads", options.reads, "How often it is read")->check(CLI::PositiveNumber);
  app.add_option("--seconds", options.seconds, "How long calls of one kind are made");
  CLI11_PARSE(app, argc, argv);
  Files files(options);
  files.MakeNames();
  const double write = files.Write(options.mib);
  std::vector<double> reads;
  for (int i = 0; i < options.reads; ++i) reads.push_back(files.Read(options.mib));
  std::sort(reads.begin(), reads.end());
  const double read = reads[reads.size() / 2];
  Calls calls(options);
  const double getattr = calls.Rate(false, options.seconds);
  const double lookup = calls.Rate(true, options.seconds);
  printf("{\"write\":%.0f,\"read\":%.0f,\"getattr\":%.0f,\"lookup\":%.0f}\n", write, read, getattr,
         lookup);
  return 0;
}
