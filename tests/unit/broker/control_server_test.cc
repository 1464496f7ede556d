// SPDX-License-Identifier: Apache-2.0
#include "broker/control_server.h"

#include <gtest/gtest.h>
#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <map>
#include <sstream>
#include <thread>

#include "broker/control_frame.h"
#include "shm/base/fd.h"
#include "shm/layout.h"
#include "tests/unit/broker/temp_dir.h"

namespace airstore::broker {
namespace {

namespace wire = control::v1;

class FakeBroker final : public BrokerApi {
 public:
  Task<Outcome<MountStatus>> Mount(const Caller& caller, const MountSpec& spec,
                                   ProgressFn progress) override {
    last_caller = caller;
    last_spec = spec;
    progress("connecting", 0, 0);
    progress("reading", 1, 2);
    if (spec.mountpoint == "/busy") {
      co_return Outcome<MountStatus>{{}, {FailureKind::kBusy, "in use", "go elsewhere"}};
    }
    kept = progress;
    MountStatus status;
    status.mountpoint = spec.mountpoint;
    status.counters["reads"] = 7;
    co_return Outcome<MountStatus>{status, {}};
  }
  Task<Outcome<LeftUnsent>> Unmount(const Caller&, const std::string& mountpoint, bool force,
                                    ProgressFn) override {
    if (!force) co_return Outcome<LeftUnsent>{{}, {FailureKind::kDirty, mountpoint, ""}};
    co_return Outcome<LeftUnsent>{LeftUnsent{5, 7, ""}, {}};
  }
  Outcome<BrokerStatus> Status(const Caller&, const std::string&) override {
    if (kept) kept("too late", 0, 0);
    BrokerStatus status;
    status.state_dir = "/state";
    status.sessions.emplace_back().workspace = "w";
    status.sessions.back().gateway = "elsewhere:1";
    status.sessions.back().last_error = "it said \xff";
    status.mounts.resize(mounts);
    for (auto& mount : status.mounts) mount.mountpoint = std::string(1000, 'm');
    return {status, {}};
  }
  Task<Outcome<std::vector<DirtyFile>>> Dirty(const Caller&, const std::string&) override {
    std::vector<DirtyFile> files(dirty_files);
    files[0].path = "/dir/file";
    files[0].bytes = 7;
    for (size_t i = 1; i < files.size(); ++i) files[i].path = std::string(1000, 'p');
    co_return Outcome<std::vector<DirtyFile>>{std::move(files), {}};
  }
  Task<Outcome<Nothing>> Flush(const Caller& caller, const std::string& mountpoint,
                               uint64_t timeout_ms, ProgressFn) override {
    if (mountpoint == "/waits") {
      boost::asio::steady_timer timer(co_await boost::asio::this_coro::executor);
      flushing = true;
      while (caller.waits()) {
        timer.expires_after(std::chrono::milliseconds(1));
        co_await timer.async_wait(boost::asio::use_awaitable);
      }
      flushing = false;
    }
    if (timeout_ms != 0) co_return Outcome<Nothing>{{}, {FailureKind::kDirty, "late", ""}};
    co_return Outcome<Nothing>{Nothing(), {}};
  }
  Task<Outcome<Nothing>> Upgrade(const Caller&, std::string program, ProgressFn) override {
    if (program.empty()) co_return Outcome<Nothing>{Nothing(), {}};
    co_return Outcome<Nothing>{{}, {FailureKind::kHost, "not " + program, ""}};
  }
  Outcome<std::vector<LostFile>> Lost(const Caller&) override {
    std::vector<LostFile> items(1);
    items[0].id = "0badcafe";
    items[0].path = "/lost";
    items[0].error = EDQUOT;
    return {std::move(items), {}};
  }
  Outcome<std::string> ReadLost(const Caller&, const std::string& id, uint64_t offset) override {
    if (id != "0badcafe") return {{}, {FailureKind::kNotFound, id, ""}};
    return {offset == 0 ? "content" : "", {}};
  }
  Outcome<TraceAnswer> Trace(const Caller&, const std::string&, uint64_t, int64_t) override {
    return {};
  }
  Task<Outcome<Evicted>> Evict(const Caller&, const std::string& path) override {
    if (path != "/mnt/dir") co_return Outcome<Evicted>{{}, {FailureKind::kNotFound, path, ""}};
    co_return Outcome<Evicted>{Evicted{1, 2, 3, 4}, {}};
  }
  Outcome<Nothing> DiscardLost(const Caller&, const std::string& id) override {
    discarded = id;
    return {Nothing(), {}};
  }
  std::string default_gateway() const override { return gateway; }

  std::string discarded;

  std::string gateway = "127.0.0.1:1";
  size_t mounts = 0;
  size_t dirty_files = 1;
  std::atomic<bool> flushing = false;
  Caller last_caller;
  MountSpec last_spec;
  ProgressFn kept;
};

class FakeAdmin final : public AdminClient {
 public:
  Task<Outcome<WorkspaceEntry>> SetQuota(const std::string& name, const Quota& quota) override {
    co_return Outcome<WorkspaceEntry>{WorkspaceEntry{.id = "id",
                                                     .name = name,
                                                     .quota_bytes = quota.bytes.value_or(0),
                                                     .quota_inodes = quota.inodes.value_or(0)},
                                      {}};
  }
  Task<Outcome<WorkspaceEntry>> CreateWorkspace(const std::string& name,
                                                const Quota& /*quota*/) override {
    co_return Outcome<WorkspaceEntry>{WorkspaceEntry{"id", name, 1, 2, 3}, {}};
  }
  Task<Outcome<std::vector<WorkspaceEntry>>> ListWorkspaces() override {
    co_return Outcome<std::vector<WorkspaceEntry>>{std::vector<WorkspaceEntry>(2), {}};
  }
  Task<Outcome<Nothing>> DeleteWorkspace(const std::string&) override {
    co_return Outcome<Nothing>{{}, {FailureKind::kNotFound, "no such workspace", ""}};
  }
  Task<Outcome<CreatedToken>> CreateToken(const std::string& workspace,
                                          const std::string& principal, bool read_only) override {
    co_return Outcome<CreatedToken>{
        CreatedToken{{"id", workspace, principal, read_only, 0, 0}, "shh"}, {}};
  }
  Task<Outcome<std::vector<TokenEntry>>> ListTokens(const std::string&) override {
    co_return Outcome<std::vector<TokenEntry>>{std::vector<TokenEntry>(1), {}};
  }
  std::string in_use() const override { return "one:1"; }
  Task<Outcome<GatewayReport>> GetStatus() override {
    GatewayReport report;
    report.version = "1.2";
    report.weakness = "\xff";  // no text
    report.sessions = 3;
    co_return Outcome<GatewayReport>{std::move(report), {}};
  }
  Task<Outcome<StoreCheckState>> CheckStore(const StoreCheckQuery& query) override {
    StoreCheckState state;
    state.run = query.run + 1;
    state.finished = query.repair;
    state.damages.resize(2);
    state.damages[0].path = "\xff";  // no text
    state.damages[0].inode = 7;
    state.damages[1].path = "dir/file";
    state.damages[1].lost_bytes = 5;
    state.all_damages = 2;
    co_return Outcome<StoreCheckState>{std::move(state), {}};
  }
  Task<Outcome<Nothing>> RevokeToken(const std::string&) override {
    co_return Outcome<Nothing>{Nothing(), {}};
  }
  Task<Outcome<std::vector<AccessEntry>>> QueryAccessLog(const AccessQuery& query) override {
    AccessEntry entry;
    entry.path = query.path;
    entry.ts_ms = query.since_ms;
    entry.read_bytes = query.limit;
    co_return Outcome<std::vector<AccessEntry>>{std::vector<AccessEntry>{entry}, {}};
  }
};

class ControlServerTest : public testing::Test {
 protected:
  void SetUp() override {
    auto server = ControlServer::Listen(
        loop_.get_executor(), temp_ / "s", broker_,
        [this](const std::string& address, const std::string& token) {
          admin_address_ = address;
          admin_token_ = token;
          asked_[address] = token;
          return Outcome<std::shared_ptr<AdminClient>>{std::make_shared<FakeAdmin>(), {}};
        });
    ASSERT_TRUE(server) << server.error().ToString();
    server_ = std::move(*server);
    thread_ = std::thread([this] { loop_.run(); });
  }
  void TearDown() override {
    loop_.stop();
    thread_.join();
    server_.reset();
  }

  UniqueFd Connect() {
    UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    strcpy(address.sun_path, (temp_ / "s").c_str());
    EXPECT_EQ(connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    return fd;
  }
  static void SendRaw(const UniqueFd& fd, const std::string& bytes) {
    ASSERT_EQ(send(fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(bytes.size()));
  }
  static bool ReadExactly(const UniqueFd& fd, void* to, size_t bytes) {
    return recv(fd.get(), to, bytes, MSG_WAITALL) == static_cast<ssize_t>(bytes);
  }
  static std::optional<wire::Response> Read(const UniqueFd& fd) {
    control::FrameHeader header{};
    if (!ReadExactly(fd, header.data(), header.size())) return std::nullopt;
    std::string body(control::FrameLength(header), '\0');
    wire::Response response;
    if (!ReadExactly(fd, body.data(), body.size()) || !response.ParseFromString(body)) {
      return std::nullopt;
    }
    return response;
  }
  // The final response to a request.
  wire::Response Ask(const wire::Request& request, const UniqueFd& fd) {
    SendRaw(fd, control::MakeFrame(request.SerializeAsString()));
    progress_.clear();
    for (;;) {
      const auto response = Read(fd);
      EXPECT_TRUE(response);
      if (!response) return {};
      if (!response->has_progress()) return *response;
      progress_.push_back(response->progress().message());
    }
  }
  wire::Response Ask(const wire::Request& request) { return Ask(request, Connect()); }
  static bool IsClosed(const UniqueFd& fd) {
    char byte = 0;
    return recv(fd.get(), &byte, 1, 0) <= 0;
  }
  static wire::Request MountRequest(const std::string& mountpoint) {
    wire::Request request;
    request.mutable_mount()->set_mountpoint(mountpoint);
    request.mutable_mount()->mutable_gateway()->set_token("top-secret");
    return request;
  }

  TempDir temp_;
  FakeBroker broker_;
  boost::asio::io_context loop_{1};
  std::unique_ptr<ControlServer> server_;
  std::thread thread_;
  std::vector<std::string> progress_;
  std::string admin_address_;
  std::string admin_token_;
  std::map<std::string, std::string> asked_;  // tokens
};

TEST_F(ControlServerTest, AnswersTheVersion) {
  wire::Request request;
  request.mutable_version();
  const auto response = Ask(request);
  EXPECT_EQ(response.version().version(), AIRSTORE_VERSION);
  EXPECT_EQ(response.version().shm_abi(), shm::kAbiMajor);
}

TEST_F(ControlServerTest, MountsWithProgressForWhoTheKernelSays) {
  wire::Request request = MountRequest("/x");
  request.mutable_mount()->set_uid(0);
  request.mutable_mount()->set_passthrough(wire::PASSTHROUGH_OFF);
  request.mutable_mount()->set_backend(wire::BACKEND_NFS);
  request.mutable_mount()->set_serve_only(true);
  request.mutable_mount()->set_squash(wire::SQUASH_ALL);
  const auto response = Ask(request);
  ASSERT_TRUE(response.has_mount());
  EXPECT_EQ(response.mount().mount().mountpoint(), "/x");
  EXPECT_EQ(response.mount().mount().counters().at("reads"), 7u);
  EXPECT_EQ(progress_, (std::vector<std::string>{"connecting", "reading"}));
  EXPECT_EQ(broker_.last_caller.uid, getuid());
  EXPECT_EQ(broker_.last_caller.pid, static_cast<uint32_t>(getpid()));
  EXPECT_EQ(broker_.last_spec.gateway, "127.0.0.1:1") << "the default";
  EXPECT_EQ(broker_.last_spec.token, "top-secret");
  EXPECT_EQ(broker_.last_spec.uid, 0u);
  EXPECT_FALSE(broker_.last_spec.gid);
  EXPECT_FALSE(broker_.last_spec.passthrough);
  EXPECT_EQ(broker_.last_spec.backend, "nfs");
  EXPECT_TRUE(broker_.last_spec.serve_only);
  EXPECT_EQ(broker_.last_spec.squash, SquashWho::kAll);
}

TEST_F(ControlServerTest, PassesFailures) {
  const auto response = Ask(MountRequest("/busy"));
  EXPECT_EQ(response.failure().kind(), wire::FAILURE_KIND_BUSY);
  EXPECT_EQ(response.failure().advice(), "go elsewhere");
  wire::Request unmount;
  unmount.mutable_unmount()->set_mountpoint("/x");
  EXPECT_EQ(Ask(unmount).failure().kind(), wire::FAILURE_KIND_DIRTY);
  unmount.mutable_unmount()->set_force(true);
  EXPECT_EQ(Ask(unmount).unmount().unsent_changes(), 5u);
}

TEST_F(ControlServerTest, NeedsTokenAndGateway) {
  wire::Request request;
  request.mutable_mount()->set_mountpoint("/x");
  EXPECT_EQ(Ask(request).failure().kind(), wire::FAILURE_KIND_USAGE);
  broker_.gateway.clear();
  EXPECT_EQ(Ask(MountRequest("/x")).failure().kind(), wire::FAILURE_KIND_USAGE);
}

TEST_F(ControlServerTest, SeveralRequestsOnOneConnection) {
  const UniqueFd fd = Connect();
  EXPECT_TRUE(Ask(MountRequest("/x"), fd).has_mount());
  wire::Request status;
  status.mutable_status();
  // The fake reports progress of the mount that was answered: nothing of it may arrive.
  EXPECT_TRUE(Ask(status, fd).has_status());
  EXPECT_TRUE(progress_.empty());
}

TEST_F(ControlServerTest, StatusHasTheBroker) {
  wire::Request request;
  request.mutable_status();
  const auto response = Ask(request);
  EXPECT_EQ(response.status().broker().pid(), static_cast<uint32_t>(getpid()));
  EXPECT_EQ(response.status().broker().state_dir(), "/state");
  EXPECT_EQ(response.status().sessions(0).workspace(), "w");
  EXPECT_EQ(response.status().sessions(0).last_error(), "it said \xef\xbf\xbd");
}

TEST_F(ControlServerTest, AnswerBeyondTheLimitIsAFailure) {
  broker_.mounts = 5000;
  wire::Request request;
  request.mutable_status();
  EXPECT_TRUE(Ask(request).has_failure());
}

TEST_F(ControlServerTest, LongListsComeInParts) {
  broker_.dirty_files = 5000;
  wire::Request request;
  request.mutable_dirty();
  const UniqueFd fd = Connect();
  wire::Response all = Ask(request, fd);
  EXPECT_TRUE(all.more());
  for (bool more = all.more(); more;) {
    const auto next = Read(fd);
    ASSERT_TRUE(next);
    more = next->more();
    all.MergeFrom(*next);
  }
  EXPECT_EQ(all.dirty().files_size(), 5000);
}

TEST_F(ControlServerTest, NoticesTheEndOfWhoAsked) {
  wire::Request request;
  request.mutable_flush()->set_mountpoint("/waits");
  UniqueFd fd = Connect();
  SendRaw(fd, control::MakeFrame(request.SerializeAsString()));
  while (!broker_.flushing) std::this_thread::yield();
  fd.reset();
  while (broker_.flushing) std::this_thread::yield();
}

TEST_F(ControlServerTest, TokensGoToGatewaysOfTheAskersOnly) {
  wire::Request request;
  request.mutable_gateway_status()->mutable_gateway()->set_token("admin");
  EXPECT_EQ(Ask(request).gateway_status().gateways_size(), 2);
  EXPECT_EQ(asked_.at("127.0.0.1:1"), "admin");
  EXPECT_EQ(asked_.at("elsewhere:1"), "");
  request.mutable_gateway_status()->mutable_gateway()->set_address("elsewhere:1");
  Ask(request);
  EXPECT_EQ(asked_.at("elsewhere:1"), "admin");
}

TEST_F(ControlServerTest, Administers) {
  wire::Request request;
  request.mutable_workspace_create()->set_name("demo");
  request.mutable_workspace_create()->mutable_gateway()->set_token("admin");
  EXPECT_EQ(Ask(request).workspaces().workspaces(0).name(), "demo");
  EXPECT_EQ(admin_token_, "admin");
  EXPECT_EQ(admin_address_, "127.0.0.1:1");
  request.mutable_workspace_list()->mutable_gateway()->set_token("admin");
  EXPECT_EQ(Ask(request).workspaces().workspaces_size(), 2);
  request.mutable_workspace_delete()->mutable_gateway()->set_token("admin");
  EXPECT_EQ(Ask(request).failure().kind(), wire::FAILURE_KIND_NOT_FOUND);
  request.mutable_token_create()->mutable_gateway()->set_token("admin");
  EXPECT_EQ(Ask(request).token_created().secret(), "shh");
  request.mutable_token_list()->mutable_gateway()->set_token("admin");
  EXPECT_EQ(Ask(request).tokens().tokens_size(), 1);
  request.mutable_access_log()->mutable_gateway()->set_token("admin");
  request.mutable_access_log()->set_path("docs");
  request.mutable_access_log()->set_since_ms(5);
  request.mutable_access_log()->set_limit(7);
  const wire::Response log = Ask(request);
  ASSERT_EQ(log.access_events().events_size(), 1);
  EXPECT_EQ(log.access_events().events(0).path(), "docs");
  EXPECT_EQ(log.access_events().events(0).ts_ms(), 5);
  EXPECT_EQ(log.access_events().events(0).read_bytes(), 7);
  request.mutable_token_revoke()->mutable_gateway()->set_token("admin");
  EXPECT_TRUE(Ask(request).has_done());
  request.mutable_token_revoke()->clear_gateway();
  EXPECT_EQ(Ask(request).failure().kind(), wire::FAILURE_KIND_USAGE);
}

TEST_F(ControlServerTest, ChecksStores) {
  wire::Request request;
  request.mutable_store_check()->mutable_gateway()->set_token("admin");
  request.mutable_store_check()->set_run(4);
  request.mutable_store_check()->set_repair(true);
  const wire::StoreCheckState state = Ask(request).store_check();
  EXPECT_EQ(state.run(), 5u);
  EXPECT_TRUE(state.finished());
  ASSERT_EQ(state.damages_size(), 2);
  EXPECT_EQ(state.damages(0).path(), "inode 7") << "a name may be any bytes";
  EXPECT_EQ(state.damages(1).path(), "dir/file");
  EXPECT_EQ(state.damages(1).lost_bytes(), 5u);
  EXPECT_EQ(state.totals().damages(), 2u);
}

TEST_F(ControlServerTest, Evicts) {
  wire::Request request;
  request.mutable_evict()->set_path("/mnt/dir");
  const wire::Response response = Ask(request);
  EXPECT_EQ(response.evicted().files(), 1u);
  EXPECT_EQ(response.evicted().kept_bytes(), 4u);
  request.mutable_evict()->set_path("/elsewhere");
  EXPECT_EQ(Ask(request).failure().kind(), wire::FAILURE_KIND_NOT_FOUND);
}

TEST_F(ControlServerTest, TellsWhatGatewaysSayOfThemselves) {
  wire::Request request;
  request.mutable_gateway_status()->mutable_gateway()->set_address("one:1,https://two:2");
  const wire::Response answer = Ask(request);
  ASSERT_EQ(answer.gateway_status().gateways_size(), 2) << answer.DebugString();
  const wire::GatewayState& second = answer.gateway_status().gateways(1);
  EXPECT_EQ(second.address(), "https://two:2");
  EXPECT_TRUE(second.reached());
  EXPECT_TRUE(second.told());
  EXPECT_EQ(second.version(), "1.2");
  EXPECT_EQ(second.weakness(), "\xef\xbf\xbd");
  EXPECT_EQ(second.sessions(), 3u);
  request.mutable_gateway_status()->mutable_gateway()->set_address("nonsense");
  EXPECT_EQ(Ask(request).failure().kind(), wire::FAILURE_KIND_USAGE);
}

TEST_F(ControlServerTest, EmptyRequestIsAFailure) {
  EXPECT_EQ(Ask(wire::Request()).failure().kind(), wire::FAILURE_KIND_USAGE);
}

TEST_F(ControlServerTest, GarbageEndsItsConnectionOnly) {
  const UniqueFd other = Connect();
  for (const std::string& bytes :
       {control::MakeFrame("\xff\xff\xff\xff"), std::string("\xff\xff\xff\xff", 4),
        std::string("GET / HTTP/1.1\r\n\r\n")}) {
    const UniqueFd fd = Connect();
    SendRaw(fd, bytes);
    EXPECT_TRUE(IsClosed(fd));
  }
  {
    const UniqueFd half = Connect();
    SendRaw(half, control::MakeFrame("abcdef").substr(0, 7));
  }
  wire::Request request;
  request.mutable_version();
  EXPECT_TRUE(Ask(request, other).has_version());
}

TEST_F(ControlServerTest, CallerMayLeaveBeforeTheAnswer) {
  for (int i = 0; i < 20; ++i) {
    const UniqueFd fd = Connect();
    SendRaw(fd, control::MakeFrame(MountRequest("/x").SerializeAsString()));
  }
  wire::Request request;
  request.mutable_version();
  EXPECT_TRUE(Ask(request).has_version());
}

TEST_F(ControlServerTest, FrameInPiecesIsAFrame) {
  const UniqueFd fd = Connect();
  wire::Request request;
  request.mutable_version();
  for (const char byte : control::MakeFrame(request.SerializeAsString())) {
    SendRaw(fd, std::string(1, byte));
  }
  EXPECT_TRUE(Read(fd)->has_version());
}

TEST_F(ControlServerTest, LogsNoToken) {
  std::ostringstream log;
  const auto before = spdlog::default_logger();
  const auto logger = std::make_shared<spdlog::logger>(
      "test", std::make_shared<spdlog::sinks::ostream_sink_mt>(log));
  logger->set_level(spdlog::level::trace);
  spdlog::set_default_logger(logger);
  Ask(MountRequest("/x"));
  spdlog::set_default_logger(before);
  EXPECT_NE(log.str().find("/x"), std::string::npos);
  EXPECT_EQ(log.str().find("top-secret"), std::string::npos);
}

TEST(ControlFrame, LengthIsLittleEndian) {
  const std::string frame = control::MakeFrame(std::string(0x0102, 'x'));
  EXPECT_EQ(frame.substr(0, 4), std::string("\x02\x01\x00\x00", 4));
  EXPECT_EQ(control::FrameLength({0x02, 0x01, 0, 0x80}), 0x80000102u);
}

}  // namespace
}  // namespace airstore::broker
